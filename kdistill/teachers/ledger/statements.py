"""What is read from and written to the rows of a ledger, inside a transaction that the caller holds."""

import collections
import contextlib
import operator
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import sqlalchemy as sa

from kdistill.teachers.ledger.database import accounts, questions, source
from kdistill.teachers.ledger.records import (
    ANSWERED,
    BAD,
    IN_FLIGHT,
    UNKNOWN,
    AccountSummary,
    LedgerSummary,
    Question,
)

_IN_LIST = 500  # values in one SQL `IN (...)`, below every engine's limit


def source_row(connection: sa.Connection) -> Any:
    """Returns the ledger's one row about itself, or None; in a writing transaction, reservations queue up here."""
    statement = sa.select(source)
    if not connection.get_execution_options().get("ledger_reading", False):
        # For engines with row locks; SQLite's transaction has locked the whole file.
        statement = statement.with_for_update()
    return connection.execute(statement).one_or_none()


def insert_source(connection: sa.Connection, values: dict[str, Any]) -> Any:
    """Writes the ledger's row about itself and returns it, or the one that another asker has just written."""
    # An engine with row locks has no row yet that two askers could queue up at.
    with contextlib.suppress(sa.exc.IntegrityError), connection.begin_nested():
        connection.execute(sa.insert(source), values)
    return source_row(connection)


def question_rows(connection: sa.Connection, view: str, contents: Iterable[str]) -> dict[str, Any]:
    """Returns content hash -> row (content, state, asker) of what was ever asked."""
    statement = sa.select(questions.c.content, questions.c.state, questions.c.asker).where(questions.c.view == view)
    found = {}
    for chunk in _chunks(contents):
        for row in connection.execute(statement.where(questions.c.content.in_(chunk))):
            found[row.content] = row
    return found


def answer_rows(connection: sa.Connection, view: str, contents: Iterable[str]) -> Iterator[Any]:
    """Yields rows (content, name, embedding, checksum) of what is answered."""
    columns = questions.c
    statement = sa.select(columns.content, columns.name, columns.embedding, columns.checksum)
    statement = statement.where(columns.view == view, columns.state == ANSWERED)
    for chunk in _chunks(contents):
        yield from connection.execute(statement.where(columns.content.in_(chunk)))


def insert(connection: sa.Connection, view: str, asked: Sequence[Question], values: dict[str, Any]) -> None:
    """Adds questions that have no row yet."""
    if asked:
        rows = [dict(values, view=view, content=question.content, name=_printable(question.name)) for question in asked]
        connection.execute(sa.insert(questions), rows)


def update(
    connection: sa.Connection, view: str, asked: Sequence[Question], values: dict[str, Any], *conditions: Any
) -> int:
    """Sets `values` in the rows of those questions that meet the conditions; returns how many did."""
    if not asked:
        return 0
    statement = sa.update(questions).where(*_keyed(view), *conditions).values(values)
    return connection.execute(statement, _keys(asked)).rowcount


def write_answers(
    connection: sa.Connection, view: str, asked: Sequence[Question], vectors: Sequence[np.ndarray] | np.ndarray
) -> None:
    """Writes little-endian float32 vectors to questions that are not answered yet; the others keep their answer.

    The name becomes that of the image that was answered: a question that was lost may be asked again as a copy of it.
    """
    if not asked:
        return
    rows = []
    for question, key, vector in zip(asked, _keys(asked), vectors, strict=True):
        encoded = vector.tobytes()
        rows.append(key | {"answered_as": _printable(question.name), "encoded": encoded, "crc": zlib.crc32(encoded)})
    statement = sa.update(questions).where(*_keyed(view), questions.c.state != ANSWERED)
    statement = statement.values(
        name=sa.bindparam("answered_as"),
        embedding=sa.bindparam("encoded"),
        checksum=sa.bindparam("crc"),
        state=ANSWERED,
        answered_at=time.time(),
    )
    connection.execute(statement, rows)


def lose(connection: sa.Connection, asker: str, contents: Sequence[str] | None = None) -> None:
    """Makes what a lost asker had in flight (of `contents`, where given) unknown."""
    orphans = (questions.c.asker == asker) & (questions.c.state == IN_FLIGHT)
    for chunk in [None] if contents is None else _chunks(contents):
        held = orphans if chunk is None else orphans & questions.c.content.in_(chunk)
        connection.execute(sa.update(questions).where(held).values(state=UNKNOWN))


def give_back(connection: sa.Connection, asker: str, contents: Sequence[str] | None = None) -> None:
    """Takes what an asker has in flight (of `contents`, where given) out of the count, each from who paid for it."""
    columns = questions.c
    held = (columns.asker == asker) & (columns.state == IN_FLIGHT)
    for chunk in [None] if contents is None else _chunks(contents):
        flying = held if chunk is None else held & columns.content.in_(chunk)
        paid = sa.select(columns.payer, sa.func.count().label("asked"), sa.func.sum(columns.price).label("cost"))
        for row in connection.execute(paid.where(flying).group_by(columns.payer)).all():
            charge(connection, row.payer, -row.asked, -row.cost)
        connection.execute(sa.delete(questions).where(flying, columns.asked == 1))
        # What was asked before, and counted then, stays as an unknown question.
        discounted = dict(asked=columns.asked - 1, cost=columns.cost - columns.price, state=UNKNOWN)
        connection.execute(sa.update(questions).where(flying).values(discounted))


def spent_by(connection: sa.Connection, account: str) -> int:
    """Returns what an account has spent."""
    return connection.execute(sa.select(accounts.c.spent).where(accounts.c.name == account)).scalar_one_or_none() or 0


def charge(connection: sa.Connection, account: str, asked: int, cost: float) -> None:
    """Adds questions and their cost to an account and to the ledger's sum; the caller holds the lock."""
    columns = accounts.c
    added = dict(spent=columns.spent + asked, cost=columns.cost + cost)
    if not connection.execute(sa.update(accounts).where(columns.name == account).values(added)).rowcount:
        connection.execute(sa.insert(accounts).values(name=account, spent=asked, cost=cost))
    connection.execute(sa.update(source).values(spent=source.c.spent + asked))


def contents_of(connection: sa.Connection, view: str, account: str) -> set[str]:
    """Returns the content hashes of the questions that an account was the first to pay for."""
    columns = questions.c
    statement = sa.select(columns.content).where(columns.view == view, columns.account == account)
    return set(connection.execute(statement).scalars())


def summarise(connection: sa.Connection, living: Callable[[str], bool]) -> LedgerSummary:
    """Counts the questions by account and state; in flight for an asker that is not living counts as unknown."""
    columns = questions.c
    bound = source_row(connection)
    counts: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    grouped = sa.select(
        columns.account,
        columns.state,
        columns.asker,
        sa.func.count().label("rows"),
        sa.func.sum(sa.case((columns.asked == 0, 1), else_=0)).label("imported"),
    )
    for row in connection.execute(grouped.group_by(columns.account, columns.state, columns.asker)):
        lost = row.state == IN_FLIGHT and not living(row.asker)
        counts[row.account][UNKNOWN if lost else row.state] += row.rows
        counts[row.account]["imported"] += row.imported
    paid = {row.name: row for row in connection.execute(sa.select(accounts))}
    parts = {
        name: AccountSummary(
            spent=operator.index(paid[name].spent) if name in paid else 0,
            cost=paid[name].cost if name in paid else 0.0,
            answered=counts[name][ANSWERED],
            in_flight=counts[name][IN_FLIGHT],
            unknown=counts[name][UNKNOWN],
            bad=counts[name][BAD],
            imported=counts[name]["imported"],
        )
        for name in sorted(counts.keys() | paid.keys())
    }
    times = connection.execute(
        sa.select(sa.func.min(columns.asked_at).label("first"), sa.func.max(columns.asked_at).label("last"))
    ).one()
    return LedgerSummary(
        teacher=bound.teacher if bound else None,
        view=bound.view if bound else None,
        dimension=bound.dimension if bound else None,
        spent=operator.index(bound.spent) if bound else 0,
        cost=float(sum(part.cost for part in parts.values())),
        answered=sum(part.answered for part in parts.values()),
        in_flight=sum(part.in_flight for part in parts.values()),
        unknown=sum(part.unknown for part in parts.values()),
        bad=sum(part.bad for part in parts.values()),
        imported=sum(part.imported for part in parts.values()),
        first_asked_at=times.first,
        last_asked_at=times.last,
        accounts=parts,
    )


def _keyed(view: str) -> tuple[Any, Any]:
    # Named `key` because SQLAlchemy keeps the columns' own names for the values of an update.
    return questions.c.content == sa.bindparam("key"), questions.c.view == view


def _keys(asked: Sequence[Question]) -> list[dict[str, Any]]:
    return [{"key": question.content} for question in asked]


def _printable(name: str) -> str:
    # A name may hold bytes that are no UTF-8, or a zero, which a database's text cannot.
    return name.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")


def _chunks(contents: Iterable[str]) -> Iterator[list[str]]:
    items = list(contents)
    for start in range(0, len(items), _IN_LIST):
        yield items[start : start + _IN_LIST]
