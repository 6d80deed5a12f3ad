"""Where a ledger lives: its two tables, and what is particular to SQLite.

Everything that another engine would do differently stands here (how a writing transaction begins, how full the
disk is, whether the file is whole) and in askers.py. The rest of the ledger is plain SQLAlchemy Core.
"""

import contextlib
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from kdistill.errors import KdistillError

BUSY_SECONDS = 60.0
"""How long a transaction waits for those of other processes."""

metadata = sa.MetaData()

source = sa.Table(
    "source",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),  # one row, 1: it is also the lock that reservations queue at
    sa.Column("format", sa.Integer, nullable=False),
    sa.Column("teacher", sa.Text, nullable=False),
    sa.Column("view", sa.Text, nullable=False),
    sa.Column("dimension", sa.Integer),  # None until the first answer
    sa.Column("spent", sa.Integer, nullable=False),  # the sum of questions.asked, so that a budget check reads one row
    sa.Column("created_at", sa.Float, nullable=False),
)

questions = sa.Table(
    "questions",
    metadata,
    sa.Column("content", sa.Text, primary_key=True),  # hash of what is asked about
    sa.Column("view", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),  # id of the image under which it was first asked
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("asked", sa.Integer, nullable=False),  # times it counts against the budget
    sa.Column("cost", sa.Float, nullable=False),
    sa.Column("asker", sa.Text, nullable=False),  # the process that asked last
    sa.Column("asked_at", sa.Float, nullable=False),  # seconds since 1970, UTC
    sa.Column("answered_at", sa.Float),
    sa.Column("embedding", sa.LargeBinary),  # little-endian float32 [Dt]
    sa.Column("checksum", sa.BigInteger),  # CRC-32 of `embedding`
    sa.Index(
        "questions_in_flight",
        "asker",
        sqlite_where=sa.text("state = 'in flight'"),
        postgresql_where=sa.text("state = 'in flight'"),
    ),
)


class Database:
    """One SQLite file in WAL mode, shared by any number of processes of one machine."""

    def __init__(self, path: Path, *, create: bool) -> None:
        """Opens the file; with `create`, makes it and its tables where they are missing.

        Raises:
            KdistillError: missing (without `create`), not writable, or not a ledger.
        """
        self.path = path
        if not path.exists() and not create:
            raise KdistillError(f"there is no ledger at {path}")
        self._engine = sa.create_engine(f"sqlite:///{path}", connect_args={"timeout": BUSY_SECONDS})
        sa.event.listen(self._engine, "connect", _prepare_connection)
        sa.event.listen(self._engine, "begin", _begin)
        with self.explained():
            path.parent.mkdir(parents=True, exist_ok=True)
            with self.reading() as connection:
                tables = set(sa.inspect(connection).get_table_names())
            if tables and not {"source", "questions"} <= tables:
                raise KdistillError(f"{path} is an SQLite file, but not a ledger of teacher answers")
            if not tables:
                with self.writing() as connection:
                    metadata.create_all(connection)

    @contextlib.contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """A transaction that holds the only write lock from its first statement, durable when it ends."""
        with self.explained(), self._engine.begin() as connection:
            yield connection

    @contextlib.contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A transaction that sees one state of the file and holds up nobody."""
        with self.explained(), self._engine.connect().execution_options(ledger_reading=True) as connection:
            yield connection

    @contextlib.contextmanager
    def explained(self) -> Iterator[None]:
        """Turns faults of the file into one sentence."""
        try:
            yield
        except sa.exc.DBAPIError as error:
            raise KdistillError(f"the ledger {self.path} cannot be used: {error.orig}") from error
        except (OSError, sqlite3.Error) as error:
            raise KdistillError(f"the ledger {self.path} cannot be used: {error}") from error

    def free_bytes(self) -> int:
        """Returns the room left for answers."""
        return shutil.disk_usage(self.path.parent).free

    def faults(self) -> list[str]:
        """Returns what SQLite itself finds wrong with the file; empty when it is whole."""
        with self.reading() as connection:
            rows = connection.exec_driver_sql("PRAGMA integrity_check").scalars().all()
        return [str(row) for row in rows if row != "ok"]

    def close(self) -> None:
        """Closes all connections; the last one to close folds the write-ahead log into the file."""
        self._engine.dispose()


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
