"""The ledger by itself: its file, its askers, its command line."""

import sqlite3
import subprocess
import sys

import numpy as np
import pytest
import sqlalchemy as sa

from kdistill.errors import KdistillError
from kdistill.teachers import Ledger
from kdistill.teachers.__main__ import main
from kdistill.teachers.ledger import ledger as ledger_module
from kdistill.teachers.ledger.database import questions
from kdistill.teachers.ledger.records import UNKNOWN, Question
from kdistill.teachers.ledger.transfer import export_table, import_table, verify
from kdistill.teachers.providers.table import TableTeacher

QUESTIONS = [Question(f"hash{index}", f"name{index}") for index in range(6)]
VECTORS = np.arange(18, dtype=np.float32).reshape(6, 3)


@pytest.fixture
def path(new_ledger):
    return new_ledger()


def filled(path) -> Ledger:
    """Three answers, an unknown and a bad question."""
    ledger = Ledger(path)
    ledger.bind("teacher", "view")
    ledger.reserve(QUESTIONS, budget=5, limit=5, price=2.0)
    ledger.store(QUESTIONS[:3], VECTORS[:3])
    ledger.mark(QUESTIONS[3:4], UNKNOWN)
    ledger.store(QUESTIONS[4:5], np.full((1, 3), np.inf))
    return ledger


def test_a_reservation_respects_limit_and_budget(path):
    with Ledger(path) as ledger:
        ledger.bind("teacher", "view")
        first = ledger.reserve(QUESTIONS, budget=4, limit=3)
        assert (first.granted, first.left) == (tuple(QUESTIONS[:3]), tuple(QUESTIONS[3:]))
        ledger.store(QUESTIONS[:3], VECTORS[:3])
        second = ledger.reserve(QUESTIONS, budget=4, limit=3)
        assert (second.granted, second.left) == ((QUESTIONS[3],), tuple(QUESTIONS[4:]))


def test_what_another_living_asker_holds_is_busy_until_it_is_gone(path):
    with Ledger(path) as ledger:
        ledger.bind("teacher", "view")
        other = Ledger(path)
        other.reserve(QUESTIONS[:2], budget=6, limit=6)
        held = ledger.reserve(QUESTIONS, budget=6, limit=6)
        assert (held.busy, held.granted) == (tuple(QUESTIONS[:2]), tuple(QUESTIONS[2:]))
        assert ledger.summary().in_flight == 6
        other.close()
        assert (ledger.summary().in_flight, ledger.summary().unknown) == (4, 2)
        ledger.store(QUESTIONS[2:], VECTORS[2:])
        regained = ledger.reserve(QUESTIONS, budget=8, limit=6)
        assert regained.granted == tuple(QUESTIONS[:2])
        assert ledger.summary().spent == 8


def test_what_an_asker_left_behind_itself_is_free_again(path):
    with Ledger(path) as ledger:
        ledger.bind("teacher", "view")
        ledger.reserve(QUESTIONS, budget=12, limit=6)
        assert ledger.reserve(QUESTIONS, budget=12, limit=6).granted == tuple(QUESTIONS)
        assert ledger.summary().spent == 12


def test_an_answer_bears_the_name_of_the_copy_that_was_asked(path):
    copy = Question(QUESTIONS[0].content, "copy")
    with Ledger(path) as ledger:
        ledger.bind("teacher", "view")
        ledger.mark(ledger.reserve(QUESTIONS[:1], budget=3, limit=1).granted, UNKNOWN)
        ledger.store(ledger.reserve([copy], budget=3, limit=1).granted, VECTORS[:1])
        assert [row.name for row in ledger.rows()] == ["copy"]
        ledger.store(QUESTIONS[:1], VECTORS[1:2])
        assert [row.name for row in ledger.rows()] == ["copy"]


def test_the_first_answer_is_final(path):
    with filled(path) as ledger:
        ledger.store(QUESTIONS[:3], VECTORS[:3] + 1)
        np.testing.assert_array_equal(ledger.answers(["hash1"])["hash1"], VECTORS[1])


def test_release_returns_a_question_to_what_it_was(path):
    with filled(path) as ledger:
        before = ledger.states(question.content for question in QUESTIONS)
        granted = ledger.reserve([QUESTIONS[3], QUESTIONS[5]], budget=9, limit=2, price=2.0).granted
        assert ledger.summary().cost == 14.0
        ledger.release(granted)
        ledger.release(granted)  # a second time changes nothing
        assert ledger.states(question.content for question in QUESTIONS) == before
        assert (ledger.summary().spent, ledger.summary().cost) == (5, 10.0)
        assert verify(ledger) == []


def test_nothing_is_reserved_on_a_full_disk(tmp_path, monkeypatch):
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        ledger.bind("teacher", "view")
        monkeypatch.setattr(ledger_module, "MIN_FREE_BYTES", 1 << 60)
        with pytest.raises(KdistillError, match="the disk of the ledger"):
            ledger.reserve(QUESTIONS, budget=6, limit=6)
        assert ledger.summary().spent == 0


def test_files_that_are_no_ledger_are_refused(tmp_path):
    with pytest.raises(KdistillError, match="there is no ledger"):
        Ledger(tmp_path / "absent.sqlite", create=False)
    (tmp_path / "text").write_text("no database at all, but a text of some length " * 40)
    with pytest.raises(KdistillError, match="cannot be used"):
        Ledger(tmp_path / "text")
    other = sqlite3.connect(tmp_path / "other.sqlite")
    other.execute("create table songs (name)")
    other.close()
    with pytest.raises(KdistillError, match="not a ledger"):
        Ledger(tmp_path / "other.sqlite")
    (tmp_path / "folder").mkdir()
    with pytest.raises(KdistillError, match="cannot be used"):
        Ledger(tmp_path / "folder")


def test_an_exported_table_is_a_teacher_and_imports_elsewhere(path, new_ledger, tmp_path):
    table = tmp_path / "table.npz"
    with filled(path) as ledger:
        assert export_table(ledger, table) == 3
    assert TableTeacher(table).dimension == 3
    with Ledger(new_ledger()) as second:
        assert import_table(second, table) == 3
        assert import_table(second, table) == 0
        summary = second.summary()
        assert (summary.teacher, summary.view, summary.dimension) == ("teacher", "view", 3)
        assert (summary.spent, summary.answered, summary.imported) == (0, 3, 3)
        np.testing.assert_array_equal(second.answers(["hash2"])["hash2"], VECTORS[2])
        assert verify(second) == []
    with Ledger(new_ledger()) as third:
        third.bind("another teacher", "view")
        with pytest.raises(KdistillError, match="teacher 'another teacher', not of 'teacher'"):
            import_table(third, table)


def test_an_import_answers_open_questions_that_stay_counted(path, new_ledger, tmp_path):
    table = tmp_path / "table.npz"
    with filled(new_ledger()) as elsewhere:
        elsewhere.reserve(QUESTIONS[3:4], budget=9, limit=1)
        elsewhere.store(QUESTIONS[3:4], VECTORS[3:4])
        export_table(elsewhere, table)
    with filled(path) as ledger:
        assert import_table(ledger, table) == 1
        assert (ledger.summary().spent, ledger.summary().answered, ledger.summary().unknown) == (5, 4, 0)
        assert verify(ledger) == []


def damage(path: str, **values: object) -> None:
    """Changes the second row behind the ledger's back."""
    engine = sa.create_engine(path if "://" in path else f"sqlite:///{path}")
    with engine.begin() as connection:
        connection.execute(sa.update(questions).where(questions.c.name == "name1").values(values))
    engine.dispose()


@pytest.mark.parametrize("values", [{"embedding": bytes(4)}, {"checksum": 0}, {"state": "odd"}, {"asked": 7}])
def test_verify_finds_a_damaged_row(path, values, capsys):
    filled(path).close()
    assert main(["verify", path]) == 0
    damage(path, **values)
    assert main(["verify", path]) == 1
    assert "name1" in capsys.readouterr().out or "asked" in values


def test_a_damaged_answer_is_never_served(path):
    ledger = filled(path)
    damage(path, embedding=bytes(11) + b"\x01")
    with pytest.raises(KdistillError, match=r"'name1' .* is damaged"):
        ledger.answers(["hash0", "hash1"])
    ledger.close()


def test_command_line(path, new_ledger):
    filled(path).close()

    def run(*arguments):
        command = [sys.executable, "-m", "kdistill.teachers", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    status = run("status", path)
    assert status.returncode == 0, status.stderr
    assert "5 questions, cost 10.00" in status.stdout
    missing = run("status", new_ledger())
    assert (missing.returncode, missing.stdout) == (1, "")
    assert missing.stderr.startswith("error: there is no ledger")
    assert "Traceback" not in missing.stderr


def test_command_line_tables(path, new_ledger, tmp_path, capsys):
    filled(path).close()
    new = new_ledger()
    assert main(["export", path, str(tmp_path / "table.npz")]) == 0
    assert main(["import", new, str(tmp_path / "table.npz")]) == 0
    assert "3 new answers" in capsys.readouterr().out
    assert main(["status", "--json", new]) == 0
    assert '"imported": 3' in capsys.readouterr().out
    (tmp_path / "plain.npz").write_bytes(b"no archive")
    assert main(["import", new, str(tmp_path / "plain.npz")]) == 1
    assert "cannot be read" in capsys.readouterr().err


def test_asking_does_not_import_tensorflow():
    script = "import sys, kdistill.teachers; print([m for m in ('tensorflow', 'keras', 'sklearn') if m in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
