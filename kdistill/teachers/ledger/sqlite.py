"""The embedded default: a ledger in one SQLite file, shared by the processes of one machine."""

import contextlib
import os
import shutil
import sqlite3
import tempfile
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from kdistill.errors import ArgumentError, KdistillError
from kdistill.teachers.ledger.askers import FileAskers
from kdistill.teachers.ledger.database import BUSY_SECONDS, Database, NoLedger, metadata
from kdistill.teachers.ledger.migration import is_old, migrate, views_of_old

_ACTIVE = "SELECT name FROM sqlite_master WHERE type IN ('trigger', 'view')"
"""What a prepared file could count or answer by itself with."""


class SqliteDatabase(Database):
    """One file in WAL mode; a writing transaction locks all of it from its first statement."""

    def __init__(self, path: Path, *, create: bool, read_only: bool) -> None:
        """Opens the file; with `create`, makes it and its tables where they are missing.

        Raises:
            ArgumentError: a name that no file can have.
            KdistillError: missing (without `create`), not writable (without `read_only`), or not a ledger.
        """
        self.name = str(path)
        if "\0" in self.name:
            raise ArgumentError(f"the ledger {self.name!r} cannot be a file: its name holds a zero")
        if not path.name:
            raise ArgumentError(f"the ledger {self.name!r} names no file")
        # SQLite keeps its log beside the file itself; askers that came by different links must know of each other, too.
        self._file = Path(os.path.realpath(path))
        self._copy: tempfile.TemporaryDirectory[str] | None = None
        self.askers = FileAskers(self._file.with_name(self._file.name + "-askers"))
        with self.explained():
            if create:
                path.parent.mkdir(parents=True, exist_ok=True)
            there = _is_there(path)
            if not there and not create:
                raise NoLedger(f"there is no ledger at {path}")
            if there and not path.is_file():
                raise KdistillError(f"the ledger {path} cannot be used: it is not a regular file")
            self._engine = self._made_engine(read_only)
            try:
                self._make_tables(create, read_only)
            except BaseException:
                self.close()
                raise

    def _made_engine(self, read_only: bool) -> sa.Engine:
        # An absolute path is never taken for an option, for `:memory:` or for a URI, whatever it holds.
        where, uri = str(self._file), False
        if read_only and not (_allowed(where, os.W_OK) and _allowed(os.path.dirname(where), os.W_OK)):
            where, uri = self._unwritable(where)

        def connect() -> sqlite3.Connection:
            return sqlite3.connect(where, timeout=BUSY_SECONDS, check_same_thread=False, uri=uri)

        engine = sa.create_engine("sqlite://", creator=connect, poolclass=sa.pool.QueuePool)
        sa.event.listen(engine, "connect", _prepare_reading if read_only else _prepare_writing)
        sa.event.listen(engine, "begin", _begin)
        return engine

    def _unwritable(self, path: str) -> tuple[str, bool]:
        """Returns what to connect to, and whether it is a URI, where the file or its folder cannot be written.

        SQLite reads a file in WAL mode through two files beside it. While a process has the ledger open they are
        there. Where they are not, nobody writes, and the file itself is whole; a log without its index was left by a
        crash or a copy, and its answers show only where both can be written: in a copy.
        """
        log, index = path + "-wal", path + "-shm"
        unfinished = os.path.exists(log) and os.path.getsize(log) > 0
        if unfinished and not _allowed(index, os.R_OK):
            self._copy = tempfile.TemporaryDirectory(prefix="ledger-")
            copied = os.path.join(self._copy.name, "ledger")
            shutil.copyfile(path, copied)
            shutil.copyfile(log, copied + "-wal")
            return copied, False
        state = "mode=ro" if unfinished else "mode=ro&immutable=1"
        return f"file:{urllib.parse.quote(os.fsencode(path))}?{state}", True

    def _make_tables(self, create: bool, read_only: bool) -> None:
        with self.reading() as connection:
            tables = set(sa.inspect(connection).get_table_names())
            active = connection.exec_driver_sql(_ACTIVE).scalars().first()
            old = {"source", "questions"} <= tables and not read_only and is_old(connection)
        if active is not None:
            raise KdistillError(
                f"{self.name} holds the trigger or view {active!r}, which no ledger has: it is not used"
            )
        if tables and not {"source", "questions"} <= tables:
            raise KdistillError(f"{self.name} is an SQLite file, but not a ledger of teacher answers")
        if not tables and not create:
            raise NoLedger(f"there is no ledger at {self.name}: the file is empty")
        if not tables or old:
            with self.writing() as connection:
                if old:
                    migrate(connection)
                else:
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
        return shutil.disk_usage(self._file.parent).free

    def faults(self) -> list[str]:
        """Returns what SQLite itself finds wrong with the file."""
        with self.reading() as connection:
            rows = connection.exec_driver_sql("PRAGMA integrity_check").scalars().all()
        return [str(row) for row in rows if row != "ok"]

    def close(self) -> None:
        """Closes all connections, and removes the copy that was read."""
        super().close()
        if self._copy is not None:
            self._copy.cleanup()


def _is_there(path: Path) -> bool:
    """Says whether anything has this name, a broken link included; raises OSError where that cannot be seen."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _allowed(path: str, mode: int) -> bool:
    return os.access(path, mode, effective_ids=os.access in os.supports_effective_ids)


def _prepare_writing(connection: sqlite3.Connection, _: Any) -> None:
    # The driver must not begin transactions by itself: `_begin` says how they begin.
    connection.isolation_level = None
    connection.execute("PRAGMA journal_mode=WAL")
    # NORMAL would survive a killed process too, but not a power cut: an answer that was paid for must.
    connection.execute("PRAGMA synchronous=FULL")


def _prepare_reading(connection: sqlite3.Connection, _: Any) -> None:
    connection.isolation_level = None
    connection.execute("PRAGMA temp_store=MEMORY")
    columns = {row[1] for row in connection.execute("PRAGMA main.table_info(questions)")}
    if columns and "account" not in columns:
        for view in views_of_old("main"):
            connection.execute(view)
    connection.execute("PRAGMA query_only=ON")


def _begin(connection: sa.Connection) -> None:
    reading = connection.get_execution_options().get("ledger_reading", False)
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")
