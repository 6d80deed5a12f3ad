"""A ledger in a PostgreSQL database, shared by askers on any number of machines.

Where SQLite locks its file, a writing transaction here locks the one row of `source` first, so reservations and
answers of all askers happen one after the other and the budget is checked against what is committed.
"""

import contextlib
import uuid
from collections.abc import Iterator
from typing import Any

import psycopg
import sqlalchemy as sa

from kdistill.errors import KdistillError
from kdistill.teachers.ledger.addresses import address_text, secrets_of
from kdistill.teachers.ledger.database import BUSY_SECONDS, Database, NoLedger, metadata
from kdistill.teachers.ledger.migration import is_old, migrate, views_of_old

_CREATION_LOCK = 0x6B64_6973_7469_6C6C  # "kdistill" in ASCII

_SETTINGS = (
    # A server may acknowledge before it has written: an answer that was paid for must be on disk.
    "SET synchronous_commit = on",
    f"SET lock_timeout = '{BUSY_SECONDS:.0f}s'",
    # A machine that vanished without a word is noticed within a minute, not after two hours.
    "SET tcp_keepalives_idle = 30",
    "SET tcp_keepalives_interval = 10",
    "SET tcp_keepalives_count = 3",
)

_IS_OLD = """
SELECT quote_ident(tables.table_schema) FROM information_schema.tables AS tables
WHERE tables.table_schema = current_schema() AND tables.table_name = 'questions' AND NOT EXISTS (
    SELECT FROM information_schema.columns AS columns WHERE columns.table_schema = tables.table_schema
    AND columns.table_name = tables.table_name AND columns.column_name = 'account')
"""
"""The schema of tables of the first format, no row where they are of today's, or missing."""


class PostgresDatabase(Database):
    """The tables in the first schema of the connection's search path."""

    def __init__(self, url: sa.URL, *, create: bool, read_only: bool) -> None:
        """Connects; with `create`, makes the tables where they are missing.

        Raises:
            KdistillError: no connection, missing (without `create`), or tables that are not a ledger's.
        """
        self.name = address_text(url)
        self._secrets = secrets_of(url)
        self._engine = sa.create_engine(url, pool_pre_ping=True, hide_parameters=True)
        sa.event.listen(self._engine, "connect", _prepare_reading if read_only else _prepare_connection)
        self.askers = ConnectedAskers(self._engine)
        try:
            self._make_tables(create, read_only)
        except BaseException:
            self.close()
            raise

    def _make_tables(self, create: bool, read_only: bool) -> None:
        with self.reading() as connection:
            found = _ledger_tables(connection)
            old = found == {"source", "questions"} and is_old(connection)
        if old:
            if not read_only:
                with self.writing() as connection:
                    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_CREATION_LOCK)))
                    migrate(connection)
        elif not found and create:
            with self.writing() as connection:
                # Without the lock, two askers that come first at the same time would both create.
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_CREATION_LOCK)))
                metadata.create_all(connection)
        elif not found:
            raise NoLedger(f"there is no ledger at {self.name}")
        elif found != set(metadata.tables):
            raise KdistillError(f"the database {self.name} has other tables, but not those of a ledger")

    @contextlib.contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A transaction that sees one state of the tables and holds up nobody."""
        with super().reading() as connection:
            yield connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)

    @contextlib.contextmanager
    def explained(self) -> Iterator[None]:
        """Turns faults of the server and the connection into one sentence."""
        with super().explained():
            try:
                yield
            except psycopg.Error as error:
                raise self._fault(error) from error

    def free_bytes(self) -> None:
        """Returns None: the room on a server's disk is not for its clients to see."""

    def faults(self) -> list[str]:
        """Returns nothing: the server checks its own pages, and `verify` checks every row."""
        return []

    def _fault(self, reason: object) -> KdistillError:
        text = " ".join(str(reason).split())
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return super()._fault(text)


class ConnectedAskers:
    """Tells living askers from lost ones: each holds an advisory lock through a connection of its own.

    The server releases the lock when the connection ends, however it ends: a process killed, a machine switched
    off (noticed by keep-alive packets), a network cut. There is no lease to run out and no clock to agree on.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._connection: sa.Connection | None = None
        self.id = uuid.uuid4().hex

    def join(self) -> None:
        """Takes this asker's lock, anew and under a new id where the connection that held it is gone."""
        if self._connection is not None:
            try:
                self._connection.execute(sa.select(1))
                return
            except sa.exc.DBAPIError:
                # The server may still hold the old lock for a while: its questions become free when it lets go.
                self.leave()
                self.id = uuid.uuid4().hex
        connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        try:
            connection.detach()  # never given back to the pool, so closing it closes the session
            connection.execute(sa.select(sa.func.pg_advisory_lock(_lock_key(self.id))))
        except BaseException:
            connection.close()
            raise
        self._connection = connection

    def living(self, asker: str) -> bool:
        """Returns whether the connection of the one that reserved under this id still stands."""
        if asker == self.id:
            return True
        key = _lock_key(asker)
        held = sa.text(
            "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1"
            " AND classid = :high AND objid = :low"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))"
        )
        with self._engine.connect() as connection:
            halves = {"high": key >> 32 & 0xFFFF_FFFF, "low": key & 0xFFFF_FFFF}
            return bool(connection.execute(held, halves).scalar_one())

    def leave(self) -> None:
        """Releases the lock and closes its connection."""
        if self._connection is not None:
            # Closing alone would do, but a moment later; a broken connection has nothing to say goodbye to.
            with contextlib.suppress(sa.exc.SQLAlchemyError, psycopg.Error):
                self._connection.execute(sa.select(sa.func.pg_advisory_unlock_all()))
            with contextlib.suppress(sa.exc.SQLAlchemyError, psycopg.Error):
                self._connection.close()
            self._connection = None


def _prepare_connection(connection: Any, _: Any) -> None:
    connection.autocommit = True
    with connection.cursor() as cursor:
        for setting in _SETTINGS:
            cursor.execute(setting)
    connection.autocommit = False


def _prepare_reading(connection: Any, record: Any) -> None:
    _prepare_connection(connection, record)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(_IS_OLD)
        row = cursor.fetchone()
        if row is not None:
            for view in views_of_old(row[0]):
                cursor.execute(view)
    connection.autocommit = False


def _ledger_tables(connection: sa.Connection) -> set[str]:
    inspector = sa.inspect(connection)
    # Tables of the first format stand behind temporary views where they are only read.
    return {*inspector.get_table_names(), *inspector.get_temp_view_names()} & set(metadata.tables)


def _lock_key(asker: str) -> int:
    """Returns the asker's 64-bit lock, signed as the server takes it: the first half of its random id."""
    return int.from_bytes(bytes.fromhex(asker)[:8], "big", signed=True)
