"""The command line itself: help, version, flagfiles, and words that are no flag."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import main
from kdistill.version import __version__

REPOSITORY = Path(__file__).parents[2]
SENTENCES = {
    "--flagfile=bytes.flags": "error: a file that --flagfile names is no UTF-8 text",
    "--flagfile=folder.flags": "error: --flagfile cannot be read: Is a directory: 'folder.flags'",
    "--flagfile=outer_missing.flags": "error: --flagfile cannot be read: No such file or directory: 'nowhere.flags'",
    "--strict=perhaps": "error: flag --strict=perhaps: it takes true or false",
    "--nosteps": "error: Unknown command line flag 'nosteps'. Did you mean: steps ?",
    "--steps=2 stray": "error: unexpected argument 'stray': settings are given as --name=value",
    "--stages=": "error: --stages names no stage",
}
SHOWN = ("--help", "-h", "-?", "--helpshort", "-help", "--help=true", "--steps=0 --help")


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """Arguments -> (status, text) of the command line in a folder with flagfiles."""
    folder = tmp_path_factory.mktemp("flagfiles")
    (folder / "bytes.flags").write_bytes(b"\xff\xfe--steps=1\n")
    (folder / "folder.flags").mkdir()
    (folder / "outer_missing.flags").write_text("--flagfile=nowhere.flags\n")
    cases = [*SENTENCES, *SHOWN, "--helpfull", "--version", "--helpxml"]
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("every_wrong_value.py"))],
        input=json.dumps([case.split() for case in cases]),
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    return {case: (outcome["status"], outcome["text"]) for case, outcome in zip(cases, found, strict=True)}


@pytest.mark.parametrize("case", SENTENCES)
def test_a_mistake_is_one_sentence_with_status_2(said, case):
    status, text = said[case]
    assert status == 2
    assert text.startswith(SENTENCES[case])
    assert text.count("\n") == 1


def test_every_way_to_ask_for_help_shows_the_same_page(said):
    pages = {said[case] for case in SHOWN}
    assert len(pages) == 1
    ((status, page),) = pages
    assert status == 0
    assert 30 <= page.count("\n") <= 100
    assert "--query_budget" in page
    assert "--channel_cost_power" not in page
    assert max(map(len, page.splitlines())) <= 100


def test_the_other_pages(said):
    status, page = said["--helpfull"]
    assert status == 0
    assert "--channel_cost_power" in page
    assert said["--version"] == (0, f"kdistill {__version__}\n")
    status, page = said["--helpxml"]
    assert status == 0
    assert page.startswith("<?xml")
    assert "<name>query_budget</name>" in page


def test_shipped_flagfiles_are_found_from_any_folder_and_nothing_else_stands_in_for_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for given in (["--flagfile=configs/quickstart.flags"], ["--flagfile", "configs/quickstart.flags"]):
        found = main._with_shipped(["main.py", *given])
        assert Path(found[-1].removeprefix("--flagfile=")).is_file()
    for name in ("mine/quickstart.flags", "quickstart.flags", "configs/nowhere.flags", ""):
        assert main._with_shipped(["main.py", f"--flagfile={name}"]) == ["main.py", f"--flagfile={name}"]
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "quickstart.flags").write_text("--steps=5\n")
    assert main._with_shipped(["main.py", "--flagfile=configs/quickstart.flags"])[1:] == [
        "--flagfile=configs/quickstart.flags"
    ]
