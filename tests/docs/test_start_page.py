"""A newcomer's path: what the Start page shows, copied line by line, ends in the report and in a search.

Only what the page itself marks is left out. The photos are generated; nothing is downloaded.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from generated_photos import write_photos
from shown_blocks import BLOCKS, REPOSITORY

from export.retriever import Retriever

pytestmark = pytest.mark.long

START = [block for block in BLOCKS if block.page == "docs/start.md"]
# `kdistill` and `python` as a reader has them who installed the package: this Python, and its command.
KDISTILL = f'#!/bin/sh\nexec "{sys.executable}" -c "import main; main.cli()" "$@"\n'
PYTHON = f'#!/bin/sh\nexec "{sys.executable}" "$@"\n'


@pytest.fixture(scope="module")
def followed(tmp_path_factory):
    """The folder in which a newcomer has followed the page, and what was said on the way."""
    folder = tmp_path_factory.mktemp("newcomer")
    programs = tmp_path_factory.mktemp("bin")
    for name, text in (("kdistill", KDISTILL), ("python", PYTHON)):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    write_photos(folder / "photos")
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(REPOSITORY), "TF_CPP_MIN_LOG_LEVEL": "3"}
    said = []
    for block in START:
        if block.file:
            (folder / block.file).write_text(block.text, encoding="utf-8")
        elif block.language == "sh" and not block.reason:
            done = subprocess.run(
                ["bash", "-e", "-c", block.text],
                cwd=folder,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, (block.text, done.stdout, done.stderr)
            said.append(done.stdout + done.stderr)
    return folder, said


def test_it_shows_the_cost_before_a_question_is_asked(followed):
    _, (cost, *_) = followed
    assert "60 questions: 0 already paid for, 60 to ask at a cost of 0.60" in cost
    assert "judging: 45 questions" in cost


def test_it_ends_in_the_report(followed):
    folder, _ = followed
    report = (folder / "runs" / "first" / "report.html").read_text(encoding="utf-8")
    assert "The student is better than the same network before distillation" in report


def test_it_ends_in_a_search_that_finds_the_photo_itself(followed):
    _, (*_, search) = followed
    first, *others = re.findall(r"^([\d.]+)  (\S+)$", search, re.MULTILINE)
    assert first[1] == "photo_007.jpg"
    assert len(others) == 9


def test_the_page_on_files_names_all_that_lies_there(followed):
    folder, _ = followed
    page = (REPOSITORY / "docs" / "formats.md").read_text(encoding="utf-8")
    patterns = [name.rstrip("/") for name in re.findall(r"`([\w.*]+/?)`", page)]
    left = [path.name for path in (folder / "runs" / "first").iterdir()]
    assert len(left) > 20
    assert [name for name in left if not any(Path(name).match(pattern) for pattern in patterns)] == []


def test_the_published_folder_opens_as_the_page_on_deployment_says(followed, monkeypatch):
    folder, _ = followed
    monkeypatch.chdir(folder)
    for name, photo in (("photo.jpg", "photo_000.jpg"), ("other.jpg", "photo_001.jpg")):
        (folder / name).write_bytes((folder / "photos" / photo).read_bytes())
    (code,) = [block.text for block in BLOCKS if "export.load(" in block.text]
    names: dict[str, object] = {}
    exec(compile(code, "docs/deployment.md", "exec"), names)
    assert names["student"].search("photo.jpg")[0].id == "photo_000.jpg"  # type: ignore[attr-defined]


def test_a_catalogue_takes_more_photos_as_its_page_says(followed, monkeypatch):
    """docs/vectors.md, on the run of the Start page: a table is written, new photos are embedded and added."""
    folder, _ = followed
    monkeypatch.chdir(folder)
    write_photos(folder / "new_photos", count=3, first=500)
    page = [block for block in BLOCKS if block.page == "docs/vectors.md"]
    table, joined = [block.text for block in page if block.language == "python"]
    _, embed, add = [block.text.replace("runs/catalogue", "runs/first") for block in page if block.language == "sh"]
    exec(compile(table, "docs/vectors.md", "exec"), {})
    with np.load(folder / "vectors.npz") as written:
        assert written["embeddings"].shape == (2, 512)
    _run(embed, folder)
    exec(compile(joined, "docs/vectors.md", "exec"), {})
    _run(add, folder)
    added = Retriever(folder / "runs" / "first" / "retriever.tflite").ids[180:]
    assert list(added) == [f"photo_{number}.jpg" for number in (500, 501, 502)]


def _run(command: str, folder: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    words = [sys.executable, *command.split()[1:]]
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
