"""Ledgers of the first format, as their version wrote them: brought up to date without loss, or only read."""

import sqlite3
import zlib

import numpy as np
import pytest
import sqlalchemy as sa

from kdistill.errors import KdistillError
from kdistill.teachers import LEARNING, SCORING, Ledger
from kdistill.teachers.__main__ import main
from kdistill.teachers.ledger import migration
from kdistill.teachers.ledger.records import Question
from kdistill.teachers.ledger.transfer import verify

QUESTIONS = [Question(f"hash{index}", f"name{index}") for index in range(6)]
VECTORS = np.arange(18, dtype=np.float32).reshape(6, 3)

_BLOB = {"sqlite": "BLOB", "postgresql": "BYTEA"}
TABLES = (
    "CREATE TABLE source (id INTEGER NOT NULL, format INTEGER NOT NULL, teacher TEXT NOT NULL, view TEXT NOT NULL, "
    "dimension INTEGER, spent INTEGER NOT NULL, created_at FLOAT NOT NULL, PRIMARY KEY (id))",
    "CREATE TABLE questions (content TEXT NOT NULL, view TEXT NOT NULL, name TEXT NOT NULL, state TEXT NOT NULL, "
    "asked INTEGER NOT NULL, cost FLOAT NOT NULL, asker TEXT NOT NULL, asked_at FLOAT NOT NULL, answered_at FLOAT, "
    "embedding {blob}, checksum BIGINT, PRIMARY KEY (content, view))",
    "CREATE INDEX questions_in_flight ON questions (asker) WHERE state = 'in flight'",
)


def write_old(location: str, *, bound: bool = True) -> None:
    """Three answers of which one was asked twice, an unknown, a bad and a question of a lost asker: 7 spent, at 2."""
    engine = sa.create_engine(location if "://" in location else f"sqlite:///{location}")
    with engine.begin() as connection:
        for statement in TABLES:
            connection.execute(sa.text(statement.format(blob=_BLOB[engine.dialect.name])))
        if bound:
            source = "INSERT INTO source VALUES (1, 1, 'teacher', 'view', 3, 7, 1.5)"
            connection.execute(sa.text(source))
            for row, (state, asked) in enumerate(
                [("answered", 1), ("answered", 2), ("answered", 1), ("unknown", 1), ("bad", 1), ("in flight", 1)]
            ):
                answer = VECTORS[row].tobytes() if state == "answered" else None
                connection.execute(
                    sa.text(
                        "INSERT INTO questions VALUES (:content, 'view', :name, :state, :asked, :cost, :asker, 2.5, "
                        "NULL, :answer, :crc)"
                    ),
                    {
                        "content": f"hash{row}",
                        "name": f"name{row}",
                        "state": state,
                        "asked": asked,
                        "cost": 2.0 * asked,
                        "asker": "0" * 32,
                        "answer": answer,
                        "crc": None if answer is None else zlib.crc32(answer),
                    },
                )
    engine.dispose()


def columns(location: str) -> set[str]:
    engine = sa.create_engine(location if "://" in location else f"sqlite:///{location}")
    found = {column["name"] for column in sa.inspect(engine).get_columns("questions")}
    engine.dispose()
    return found


def check(ledger: Ledger) -> None:
    summary = ledger.summary()
    assert (summary.spent, summary.cost, summary.dimension) == (7, 14.0, 3)
    assert (summary.answered, summary.unknown, summary.bad) == (3, 2, 1)
    assert {name: (part.spent, part.cost) for name, part in summary.accounts.items()} == {LEARNING: (7, 14.0)}
    assert ledger.contents(LEARNING) == {question.content for question in QUESTIONS}
    assert ledger.contents(SCORING) == set()
    for row in range(3):
        np.testing.assert_array_equal(ledger.answers([f"hash{row}"])[f"hash{row}"], VECTORS[row])
    assert verify(ledger) == []


@pytest.fixture
def old(new_ledger):
    location = new_ledger()
    write_old(location)
    return location


def test_an_old_ledger_is_brought_up_to_date_once_and_goes_on(old):
    with Ledger(old) as ledger, Ledger(old) as other:
        check(ledger)
        check(other)
        # What the lost asker of a free teacher held is given back at the price it had.
        again = ledger.reserve(QUESTIONS, budget=7, limit=6, price=3.0, repeatable=True, retry_bad=True)
        assert again.granted == (QUESTIONS[3],)
        assert other.reserve(QUESTIONS[4:], budget=1, limit=6, retry_bad=True, account=SCORING).granted == (
            QUESTIONS[4],
        )
        assert (ledger.summary().spent, ledger.summary().cost) == (8, 15.0)
        assert verify(ledger) == []
    assert {"account", "payer", "price"} <= columns(old)


@pytest.mark.parametrize("command", ["status", "verify", "export"])
def test_commands_that_only_read_leave_an_old_ledger_as_it_is(old, command, tmp_path, capsys):
    arguments = [command, old] + ([str(tmp_path / "table.npz")] if command == "export" else [])
    assert main(arguments) == 0
    told = capsys.readouterr().out
    assert {"status": "7 questions, cost 14.00", "verify": "sound", "export": "3 answers"}[command] in told
    assert "account" not in columns(old)
    with Ledger(old, read_only=True) as ledger:
        check(ledger)
    with Ledger(old) as ledger:
        check(ledger)


def test_an_old_ledger_without_a_question(new_ledger):
    location = new_ledger()
    write_old(location, bound=False)
    with Ledger(location, read_only=True) as ledger:
        assert (ledger.summary().teacher, ledger.summary().accounts) == (None, {})
    with Ledger(location) as ledger:
        ledger.bind("teacher", "view")
        assert ledger.reserve(QUESTIONS, budget=1, limit=6, account=SCORING).granted == (QUESTIONS[0],)
        assert verify(ledger) == []


def test_a_migration_that_fails_in_the_middle_changes_nothing(old, monkeypatch):
    def fail(connection):
        raise sa.exc.OperationalError("no room", None, sqlite3.OperationalError("database or disk is full"))

    with monkeypatch.context() as patch:
        patch.setattr(migration.accounts, "create", fail)
        with pytest.raises(KdistillError, match="cannot be used"):
            Ledger(old)
    assert "account" not in columns(old)
    with Ledger(old) as ledger:
        check(ledger)


@pytest.mark.parametrize("number", [0, 3, 99])
def test_another_format_is_refused_and_left_alone(old, number):
    engine = sa.create_engine(old if "://" in old else f"sqlite:///{old}")
    with engine.begin() as connection:
        connection.execute(sa.text(f"UPDATE source SET format = {number}"))
    engine.dispose()
    for read_only in (True, False):
        with pytest.raises(KdistillError, match=f"has format {number}"):
            Ledger(old, read_only=read_only)
    assert "account" not in columns(old)
