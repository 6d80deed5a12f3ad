"""What the README shows runs as it stands."""

import re
from pathlib import Path

import pytest

import main
from kdistill.settings import FIELDS
from kdistill.settings.__main__ import page
from kdistill.stages.page import stages_page

REPOSITORY = Path(__file__).parents[1]
README = (REPOSITORY / "README.md").read_text()


def _blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.mark.long
def test_the_library_example_runs_as_it_is(tmp_path, monkeypatch):
    (code,) = _blocks("python")
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {"__name__": "__main__"})
    assert (tmp_path / "student.keras").exists()
    assert (tmp_path / "best.weights.h5").exists()


def test_commands_name_files_targets_and_flags_that_exist():
    makefile = (REPOSITORY / "Makefile").read_text()
    for line in "".join(_blocks("sh")).replace("\\\n", " ").splitlines():
        words = line.split("#")[0].split()
        if words[:1] == ["make"]:
            assert f"\n{words[1]}:" in makefile
        elif words[1:2] == ["main.py"]:
            flags = [word.split("=")[0].removeprefix("--") for word in words[2:]]
            assert set(flags) <= FIELDS.keys() | {"flagfile", "stages", "redo"}, line
            for path in re.findall(r"--flagfile=(\S+)", line):
                assert (REPOSITORY / path).is_file()
        elif words[1:2] == ["-m"]:
            assert (REPOSITORY / (words[2].replace(".", "/") + ".py")).is_file()
        else:
            assert (REPOSITORY / words[1]).is_file(), line


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)]+)\)", README):
        if not target.startswith("http"):
            assert (REPOSITORY / target).exists(), target


def test_it_is_short_enough_to_read():
    assert len(README.splitlines()) <= 110


def test_the_pages_on_settings_and_stages_are_those_of_the_code():
    assert (REPOSITORY / "docs" / "settings.md").read_text() == page()
    assert (REPOSITORY / "docs" / "stages.md").read_text() == stages_page(main.STAGES)


def test_every_room_stands_on_the_map():
    described = (REPOSITORY / "CONTRIBUTING.md").read_text()
    for top in ("kdistill", "export"):
        for room in (REPOSITORY / top).iterdir():
            if (room / "__init__.py").exists():
                assert f"{room.name}/`" in described, room
