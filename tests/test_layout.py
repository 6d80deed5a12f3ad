"""The tests' own rules: where a test lies, what it may leave out, what runs it."""

import configparser
import re
from collections import Counter
from pathlib import Path

TESTS = Path(__file__).parent
REPOSITORY = TESTS.parent
FILES = sorted(TESTS.rglob("test_*.py"))
MAKEFILE = (REPOSITORY / "Makefile").read_text(encoding="utf-8")

ENVIRONMENTS = {"addons", "clients", "cluster", "loggers", "servers", "web"}
"""Rooms whose tests need more than the test extra; each has its make target."""
DISTURBANCES = {"faults", "hostile"}
"""Rooms of what is done to the whole: kills, full disks, files that mean harm."""
PAGES = {"docs"}
"""Rooms of what is written for readers: its commands, snippets and links."""


def configuration(name: str) -> list[str]:
    """Returns the words or lines of a pytest setting, without comments."""
    parser = configparser.ConfigParser()
    parser.read(REPOSITORY / "setup.cfg", encoding="utf-8")
    lines = parser["tool:pytest"][name].strip().splitlines()
    return [line.strip() for line in lines if not line.strip().startswith("#")]


def test_every_file_lies_in_a_room_that_mirrors_the_tree():
    packages = {folder.name for folder in (REPOSITORY / "kdistill").iterdir() if (folder / "__init__.py").exists()}
    rooms = packages | {"export", "benchmarks"} | ENVIRONMENTS | DISTURBANCES | PAGES
    for file in FILES:
        folders = file.relative_to(TESTS).parts[:-1]
        assert set(folders[:1]) <= rooms, file
        # A room within a room is one of the package, too.
        assert len(folders) <= 1 or (REPOSITORY.joinpath("kdistill", *folders) / "__init__.py").exists(), file


def test_names_of_files_are_unique():
    assert [name for name, count in Counter(file.name for file in FILES).items() if count > 1] == []


def test_nothing_is_left_out_for_want_of_something():
    """What is not there for everyone has a room of its own; the two stacks alone may differ."""
    lines = [(file.name, line) for file in FILES for line in file.read_text(encoding="utf-8").splitlines()]
    skips = re.compile(r"^(?!.*keras\.__version__).*\bskipif\(|\bimportorskip\(")
    assert [(name, line) for name, line in lines if skips.search(line)] == []


def test_rooms_of_other_environments_are_collected_by_their_target_alone():
    left_out = {name.removeprefix("tests/") for name in configuration("norecursedirs")[0].split() if "/" in name}
    assert left_out == ENVIRONMENTS
    for room in ENVIRONMENTS:
        recipe = re.search(rf"^test-{room}:.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)
        assert recipe is not None, room
        assert f"tests/{room}" in recipe[1], room


def test_long_tests_have_a_target_of_their_own():
    for target, expression in (("test", '-m "not long"'), ("test-long", "-m long")):
        recipe = re.search(rf"^{target}:.*\n\t(.*)\n", MAKEFILE, re.MULTILINE)
        assert recipe is not None, target
        assert expression in recipe[1], target


def test_continuous_integration_runs_every_target():
    script = (REPOSITORY / ".ci" / "run").read_text(encoding="utf-8")
    for target in re.findall(r"^((?:docs|test|lint)[a-z-]*):", MAKEFILE, re.MULTILINE):
        assert re.search(rf"\b{target}\b(?!-)", script), target


def test_a_warning_is_an_error_unless_it_is_named():
    first, *others = configuration("filterwarnings")
    assert first == "error"
    for line in others:
        # What is ignored says which warning it is and of which module; `default` or `ignore` alone says nothing.
        action, message, category, module = line.split(":")
        assert (action, bool(message), bool(category)) == ("ignore", True, True), line
        assert not module.startswith(("kdistill", "export", "main", "benchmarks")), line


def test_pages_name_tests_that_exist():
    pages = [*(REPOSITORY / "docs").rglob("*.md"), *REPOSITORY.glob("*.md")]
    for page in pages:
        for named in re.findall(r"tests/[\w/]+\.py", page.read_text(encoding="utf-8")):
            assert (REPOSITORY / named).is_file(), (page.name, named)
