"""Ledgers under odd names, in files and folders that cannot be written, and what only reads them."""

import contextlib
import os
import shutil
import sqlite3
import tempfile
from pathlib import Path

import numpy as np
import pytest

from kdistill.errors import ArgumentError, KdistillError
from kdistill.teachers import Ledger
from kdistill.teachers.__main__ import main
from kdistill.teachers.ledger.addresses import is_address
from kdistill.teachers.ledger.records import Question
from kdistill.teachers.ledger.transfer import verify

QUESTIONS = [Question(f"hash{index}", f"name{index}") for index in range(6)]
VECTORS = np.arange(18, dtype=np.float32).reshape(6, 3)
NAMES = [
    *("which?a", "50%20", "a#b", "with space", "quo'te", 'dou"ble', "new\nline", "tab\tbed", "-dash", "--json", "~"),
    *(":memory:", "file:x", "file::memory:?cache=shared", "a?mode=ro", "a?immutable=1", "back\\slash", "ünï", "日本"),
    *("semi;colon", "$HOME", "*", "[a]", "{}", "&", "a=b", "sqlite:", "+", " ", "%", "?", "#", "..a", "%00", "%2e%2e"),
    os.fsdecode(b"no-utf8-\xff\xfe"),
]


def fill(ledger: Ledger) -> None:
    ledger.bind("teacher", "view")
    ledger.store(ledger.reserve(QUESTIONS[:2], budget=6, limit=2).granted, VECTORS[:2])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("place", ["file", "folder"])
def test_a_path_may_hold_whatever_the_file_system_allows(tmp_path, monkeypatch, name, place):
    monkeypatch.chdir(tmp_path)
    # A relative path first: it is what a user types, and what options and URIs are mistaken for.
    path = Path(name) if place == "file" else Path(name) / "ledger.sqlite"
    if place == "folder":
        Path(name).mkdir()
    with Ledger(path) as ledger, Ledger(tmp_path / path) as other:
        fill(ledger)
        held = other.reserve(QUESTIONS[2:4], budget=6, limit=2).granted
        assert ledger.reserve(QUESTIONS[2:], budget=6, limit=6).busy == held
        assert (tmp_path / path).is_file()
        with Ledger(path, read_only=True) as reader:
            assert reader.summary().in_flight == 4
        other.store(held, VECTORS[2:4])
    assert os.listdir(tmp_path) == [name]
    assert os.listdir((tmp_path / path).parent) == [path.name]
    with Ledger(path, read_only=True) as reader:
        assert (reader.summary().answered, verify(reader)) == (4, [])
    assert main(["verify", "--", str(path)]) == 0


def test_names_that_no_file_has(tmp_path):
    for name in ("a\0b", "\0"):
        with pytest.raises(ArgumentError, match="its name holds a zero"):
            Ledger(tmp_path / name)
    with pytest.raises(KdistillError, match=r"cannot be used|there is no ledger"):
        Ledger(tmp_path / ("x" * 300), create=False)
    with pytest.raises(KdistillError, match="cannot be used"):
        Ledger(tmp_path / ("x" * 300))


def test_a_folder_that_looks_like_an_address_is_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert is_address(Path("postgresql+psycopg://me@host/name"))
    assert is_address("c:/ledger.sqlite")
    Path("c:").mkdir()
    assert not is_address("c:/ledger.sqlite")
    with Ledger("c:/ledger.sqlite") as ledger:
        fill(ledger)
    assert Path("c:/ledger.sqlite").is_file()


@contextlib.contextmanager
def as_nobody():
    """Without the right to write everywhere that the superuser has, whom tests often run as."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def folder():
    """A folder that anybody can reach: not below pytest's own, which it keeps to one user."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name, "ledger")
        path.mkdir()
        Path(name).chmod(0o755)
        yield path
        path.chmod(0o755)


def check_reading(path: Path, capsys) -> None:
    with as_nobody():
        assert main(["status", str(path)]) == 0, capsys.readouterr().err
        assert "2 answered" in capsys.readouterr().out
        assert main(["verify", str(path)]) == 0
        with Ledger(path, read_only=True) as ledger:
            np.testing.assert_array_equal(ledger.answers(["hash1"])["hash1"], VECTORS[1])


@pytest.mark.parametrize("name", ["ledger.sqlite", "odd ?%23#.sqlite"])
@pytest.mark.parametrize("what", ["file", "folder", "both"])
def test_what_only_reads_needs_no_right_to_write(folder, name, what, capsys):
    path = folder / name
    with Ledger(path) as ledger:
        fill(ledger)
    path.chmod(0o644 if what == "folder" else 0o444)
    folder.chmod(0o777 if what == "file" else 0o555)
    check_reading(path, capsys)
    with as_nobody(), pytest.raises(KdistillError, match="cannot be used"), Ledger(path) as ledger:
        ledger.reserve(QUESTIONS[2:], budget=9, limit=1)


def test_a_ledger_in_use_by_another_user_is_read_with_its_latest_answers(folder, capsys):
    path = folder / "ledger.sqlite"
    with Ledger(path) as ledger:
        fill(ledger)
        folder.chmod(0o555)
        check_reading(path, capsys)
        with as_nobody(), Ledger(path, read_only=True) as reader:
            assert reader.summary().in_flight == 0
            assert reader.summary().spent == 2


def test_a_log_that_a_crash_left_in_a_folder_that_cannot_be_written_is_read_too(folder, capsys, tmp_path):
    busy = tmp_path / "busy.sqlite"
    path = folder / "ledger.sqlite"
    with Ledger(busy) as ledger:
        fill(ledger)
        for end in ("", "-wal"):
            shutil.copyfile(f"{busy}{end}", f"{path}{end}")
    with sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True) as bare:
        tables = {name for (name,) in bare.execute("SELECT name FROM sqlite_master")}
    assert "questions" not in tables, "the answers should stand in the log alone"
    folder.chmod(0o555)
    check_reading(path, capsys)
    assert sorted(os.listdir(folder)) == ["ledger.sqlite", "ledger.sqlite-wal"]


def test_what_only_reads_makes_nothing_and_changes_nothing(tmp_path):
    with pytest.raises(KdistillError, match="there is no ledger"):
        Ledger(tmp_path / "new" / "ledger.sqlite", read_only=True)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "empty").touch()
    for options in ({"read_only": True}, {"create": False}):
        with pytest.raises(KdistillError, match="there is no ledger"):
            Ledger(tmp_path / "empty", **options)
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        fill(ledger)
    with Ledger(tmp_path / "ledger.sqlite", read_only=True) as ledger:
        with pytest.raises(KdistillError, match="readonly"):
            ledger.mark(QUESTIONS[:1], "unknown")
        with pytest.raises(KdistillError, match="readonly"):
            ledger.reserve(QUESTIONS[2:], budget=9, limit=1)


def test_a_folder_that_cannot_be_entered_is_told_as_such(folder):
    with Ledger(folder / "ledger.sqlite") as ledger:
        fill(ledger)
    folder.chmod(0o600)
    for options in ({"read_only": True}, {"create": False}, {}):
        with as_nobody(), pytest.raises(KdistillError, match="Permission denied"):
            Ledger(folder / "ledger.sqlite", **options)


def test_askers_that_come_by_different_links_know_of_each_other(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "folder").symlink_to(tmp_path / "there")
    with Ledger(tmp_path / "there" / "ledger.sqlite") as ledger:
        fill(ledger)
        (tmp_path / "link").symlink_to(tmp_path / "there" / "ledger.sqlite")
        held = ledger.reserve(QUESTIONS[2:4], budget=6, limit=2).granted
        for way in (tmp_path / "link", tmp_path / "folder" / "ledger.sqlite"):
            with Ledger(way) as other:
                assert other.reserve(QUESTIONS[2:4], budget=6, limit=2).busy == held
    assert sorted(os.listdir(tmp_path)) == ["folder", "link", "there"]


def test_a_link_to_a_ledger_that_cannot_be_written_shows_its_latest_answers(folder, capsys):
    target = folder.with_name("elsewhere")
    target.mkdir()
    with Ledger(target / "ledger.sqlite") as ledger:
        fill(ledger)
        (folder / "link").symlink_to(target / "ledger.sqlite")
        target.chmod(0o555)
        check_reading(folder / "link", capsys)
    target.chmod(0o755)


@pytest.mark.parametrize("name", ["", ".", "/"])
def test_what_names_no_file_is_an_argument_error(name):
    with pytest.raises(ArgumentError, match="names no file"):
        Ledger(name)


def test_an_address_of_another_engine_is_refused():
    with pytest.raises(ArgumentError, match="should look like postgresql"):
        Ledger("mysql://host/name")
