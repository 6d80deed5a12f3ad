"""The embedded default: a ledger in one SQLite file, shared by the processes of one machine."""

import contextlib
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from kdistill.errors import KdistillError
from kdistill.teachers.ledger.askers import FileAskers
from kdistill.teachers.ledger.database import BUSY_SECONDS, Database, NoLedger, metadata

_ACTIVE = "SELECT name FROM sqlite_master WHERE type IN ('trigger', 'view')"
"""What a prepared file could count or answer by itself with."""


class SqliteDatabase(Database):
    """One file in WAL mode; a writing transaction locks all of it from its first statement."""

    def __init__(self, path: Path, *, create: bool) -> None:
        """Opens the file; with `create`, makes it and its tables where they are missing.

        Raises:
            KdistillError: missing (without `create`), not writable, or not a ledger.
        """
        self.name = str(path)
        self._path = path
        self.askers = FileAskers(path.with_name(path.name + "-askers"))
        if not path.exists() and not create:
            raise NoLedger(f"there is no ledger at {path}")
        self._engine = sa.create_engine(f"sqlite:///{path}", connect_args={"timeout": BUSY_SECONDS})
        sa.event.listen(self._engine, "connect", _prepare_connection)
        sa.event.listen(self._engine, "begin", _begin)
        with self.explained():
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists() and not path.is_file():
                raise KdistillError(f"the ledger {path} cannot be used: it is not a regular file")
            with self.reading() as connection:
                tables = set(sa.inspect(connection).get_table_names())
                active = connection.exec_driver_sql(_ACTIVE).scalars().first()
            if active is not None:
                raise KdistillError(f"{path} holds the trigger or view {active!r}, which no ledger has: it is not used")
            if tables and not {"source", "questions"} <= tables:
                raise KdistillError(f"{path} is an SQLite file, but not a ledger of teacher answers")
            if not tables:
                with self.writing() as connection:
                    metadata.create_all(connection)

    @contextlib.contextmanager
    def explained(self) -> Iterator[None]:
        """Turns faults of the file into one sentence, those that SQLAlchemy lets through as well."""
        with super().explained():
            try:
                yield
            except sqlite3.Error as error:
                raise self._fault(error) from error

    def free_bytes(self) -> int:
        """Returns the room on the file's disk."""
        return shutil.disk_usage(self._path.parent).free

    def faults(self) -> list[str]:
        """Returns what SQLite itself finds wrong with the file."""
        with self.reading() as connection:
            rows = connection.exec_driver_sql("PRAGMA integrity_check").scalars().all()
        return [str(row) for row in rows if row != "ok"]


def _prepare_connection(connection: sqlite3.Connection, _: Any) -> None:
    # The driver must not begin transactions by itself: `_begin` says how they begin.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    # NORMAL would survive a killed process too, but not a power cut: an answer that was paid for must.
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.close()


def _begin(connection: sa.Connection) -> None:
    reading = connection.get_execution_options().get("ledger_reading", False)
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")
