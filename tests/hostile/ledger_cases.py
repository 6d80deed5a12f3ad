"""Hostile ledgers."""

import os
import sqlite3
from pathlib import Path

import numpy as np
from hostile_case import Cases

from kdistill.errors import KdistillError
from kdistill.teachers import Ledger
from kdistill.teachers.ledger.records import Question
from kdistill.teachers.ledger.transfer import verify

CASES = Cases()


def ledger_with(folder: Path, *statements: str) -> Path:
    path = folder / "ledger.sqlite"
    with Ledger(path) as ledger:
        ledger.bind("teacher", "view")
    connection = sqlite3.connect(path)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()
    return path


@CASES.each(
    {
        "ledger: trigger that resets the budget": (
            "CREATE TRIGGER reset AFTER UPDATE ON source BEGIN UPDATE source SET spent = 0; END",
        ),
        "ledger: view in the place of a table": (
            "ALTER TABLE questions RENAME TO hidden",
            "CREATE VIEW questions AS SELECT * FROM hidden",
        ),
        "ledger: later format": ("UPDATE source SET format = 99",),
        "ledger: first format in the columns of a later one": ("UPDATE source SET format = 1",),
        "ledger: no accounts": ("DROP TABLE accounts",),
        "ledger: column of the accounts gone": ("ALTER TABLE accounts DROP COLUMN spent",),
        "ledger: view of accounts": ("DROP TABLE accounts", "CREATE VIEW accounts AS SELECT 'learning' AS name"),
        "ledger: account gone from the questions": ("ALTER TABLE questions DROP COLUMN account",),
        "ledger: text in the place of a number": ("UPDATE source SET format = 'x'",),
        "ledger: column gone": ("ALTER TABLE source DROP COLUMN spent",),
        "ledger: two of itself": (
            "INSERT INTO source (id, format, teacher, view, spent, created_at) VALUES (2, 1, 't', 'v', 0, 0)",
        ),
    }
)
def use_ledger(folder: Path, statements: tuple[str, ...]) -> None:
    with Ledger(ledger_with(folder, *statements)) as ledger:
        ledger.summary()


@CASES.each({"ledger: text": b"no database " * 100, "ledger: only a head": b"SQLite format 3\0" + bytes(84)})
def use_no_ledger(folder: Path, content: bytes) -> None:
    (folder / "ledger.sqlite").write_bytes(content)
    with Ledger(folder / "ledger.sqlite", create=False) as ledger:
        ledger.bind("teacher", "view")
        ledger.check("another", "view")


@CASES.case("ledger: pages of noise")
def _(folder: Path) -> None:
    path = ledger_with(folder)
    content = bytearray(path.read_bytes())
    content[100:] = np.random.default_rng(0).bytes(len(content) - 100)
    path.write_bytes(bytes(content))
    with Ledger(path) as ledger:
        ledger.summary()


@CASES.each(
    {
        "ledger: negative spending": "UPDATE accounts SET spent = -1000000",
        "ledger: sum that is none": "UPDATE source SET spent = 7",
        "ledger: text for an account's spending": "UPDATE accounts SET spent = 'free'",
    }
)
def verify_ledger(folder: Path, statement: str) -> None:
    path = ledger_with(folder)
    with Ledger(path) as ledger:
        ledger.reserve([Question("hash", "name")], budget=1, limit=1)
    connection = sqlite3.connect(path)
    connection.execute(statement)
    connection.commit()
    connection.close()
    with Ledger(path, read_only=True) as ledger:
        if faults := verify(ledger):
            raise KdistillError(faults[0])


@CASES.case("ledger: named pipe")
def _(folder: Path) -> None:
    os.mkfifo(folder / "ledger.sqlite")
    with Ledger(folder / "ledger.sqlite"):
        pass


@CASES.case("ledger: log of noise in a folder that only reads")
def _(folder: Path) -> None:
    path = ledger_with(folder)
    path.with_name("ledger.sqlite-wal").write_bytes(np.random.default_rng(1).bytes(100_000))
    path.write_bytes(path.read_bytes()[:4096])
    with Ledger(path, read_only=True) as ledger:
        ledger.summary()


@CASES.case("ledger: link in a circle")
def _(folder: Path) -> None:
    os.symlink(folder / "ledger.sqlite", folder / "ledger.sqlite")
    with Ledger(folder / "ledger.sqlite", read_only=True) as ledger:
        ledger.summary()
