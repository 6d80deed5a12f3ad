"""What a ledger is kept in: its three tables, and what each engine does in its own way.

Everything that engines do differently (how a transaction begins, how full the disk is, whether the file is whole,
which askers live) stands in sqlite.py and postgres.py. The rest of the ledger is plain SQLAlchemy Core.
"""

import contextlib
from collections.abc import Iterator
from typing import Protocol

import sqlalchemy as sa

from kdistill.errors import KdistillError
from kdistill.teachers.ledger.records import LEARNING

BUSY_SECONDS = 60.0
"""How long a transaction waits for those of other askers."""

metadata = sa.MetaData()

source = sa.Table(
    "source",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),  # one row, 1: it is also the lock that reservations queue at
    sa.Column("format", sa.Integer, nullable=False),
    sa.Column("teacher", sa.Text, nullable=False),
    sa.Column("view", sa.Text, nullable=False),
    sa.Column("dimension", sa.Integer),  # None until the first answer
    sa.Column("spent", sa.Integer, nullable=False),  # the sum of questions.asked, and of accounts.spent
    sa.Column("created_at", sa.Float, nullable=False),
)

accounts = sa.Table(
    "accounts",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("spent", sa.Integer, nullable=False),  # so that a budget check reads one row
    sa.Column("cost", sa.Float, nullable=False),
)

questions = sa.Table(
    "questions",
    metadata,
    sa.Column("content", sa.Text, primary_key=True),  # hash of what is asked about
    sa.Column("view", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),  # id of the image that was answered; until then, first asked
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("asked", sa.Integer, nullable=False),  # times it counts against the budget
    sa.Column("cost", sa.Float, nullable=False),
    sa.Column("asker", sa.Text, nullable=False),  # the process that asked last
    sa.Column("asked_at", sa.Float, nullable=False),  # seconds since 1970, UTC
    sa.Column("answered_at", sa.Float),
    sa.Column("embedding", sa.LargeBinary),  # little-endian float32 [Dt]
    sa.Column("checksum", sa.BigInteger),  # CRC-32 of `embedding`
    sa.Column("account", sa.Text, nullable=False, server_default=LEARNING),  # the first that paid for it
    sa.Column("payer", sa.Text, nullable=False, server_default=LEARNING),  # account of the last asking
    sa.Column("price", sa.Float, nullable=False, server_default="0"),  # of the last asking
    sa.Index(
        "questions_in_flight",
        "asker",
        sqlite_where=sa.text("state = 'in flight'"),
        postgresql_where=sa.text("state = 'in flight'"),
    ),
)


class NoLedger(KdistillError):
    """There is none at this place, and none was to be made."""


class Askers(Protocol):
    """Tells living askers from lost ones, so that the questions of a killed one do not stay in flight for ever."""

    @property
    def id(self) -> str:
        """This asker's name; it may change when `join` is called."""

    def join(self) -> None:
        """Makes this asker known as living; to be called before each reservation."""

    def living(self, asker: str) -> bool:
        """Returns whether the one that reserved under this id still runs."""

    def leave(self) -> None:
        """Makes this asker known as gone."""


class Database:
    """Three tables behind an SQLAlchemy engine, shared by any number of askers.

    Attributes:
        name: what errors call it; holds no password.
        askers: this one and all others.
    """

    name: str
    askers: Askers
    _engine: sa.Engine

    @contextlib.contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """A transaction, durable when it ends; the ledger begins each with a lock on the one row of `source`."""
        with self.explained(), self._engine.begin() as connection:
            yield connection

    @contextlib.contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A transaction that sees one state of the tables and holds up nobody."""
        with self.explained(), self._engine.connect() as connection:
            yield connection.execution_options(ledger_reading=True)

    @contextlib.contextmanager
    def explained(self) -> Iterator[None]:
        """Turns faults of the database into one sentence."""
        try:
            yield
        except sa.exc.DBAPIError as error:
            raise self._fault(error.orig) from error
        except sa.exc.SQLAlchemyError as error:  # rows that contradict each other
            raise self._fault(error) from error
        except OSError as error:
            raise self._fault(error) from error
        except TypeError as error:  # SQLite keeps any type in any column
            raise self._fault(f"it holds something else than a number ({error})") from error

    def free_bytes(self) -> int | None:
        """Returns the room left for answers; None where that cannot be known."""
        raise NotImplementedError

    def faults(self) -> list[str]:
        """Returns what the engine itself finds wrong with its files; empty when they are whole."""
        raise NotImplementedError

    def close(self) -> None:
        """Closes all connections; what is in flight is known as lost from then on."""
        self._engine.dispose()
        self.askers.leave()

    def _fault(self, reason: object) -> KdistillError:
        return KdistillError(f"the ledger {self.name} cannot be used: {reason}")
