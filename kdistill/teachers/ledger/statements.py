"""What is read from and written to the rows of a ledger, inside a transaction that the caller holds."""

import collections
import contextlib
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import sqlalchemy as sa

from kdistill.teachers.ledger.database import questions, source
from kdistill.teachers.ledger.records import ANSWERED, BAD, IN_FLIGHT, UNKNOWN, LedgerSummary, Question

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


def forget_never_asked(connection: sa.Connection, view: str, asked: Sequence[Question]) -> None:
    """Removes the rows of questions that count nothing and have no answer."""
    if asked:
        conditions = (*_keyed(view), questions.c.asked == 0, questions.c.state == UNKNOWN)
        connection.execute(sa.delete(questions).where(*conditions), _keys(asked))


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


def lose(connection: sa.Connection, asker: str) -> None:
    """Makes what a lost asker had in flight unknown."""
    orphans = (questions.c.asker == asker) & (questions.c.state == IN_FLIGHT)
    connection.execute(sa.update(questions).where(orphans).values(state=UNKNOWN))


def give_back(connection: sa.Connection, asker: str) -> int:
    """Takes what a lost asker had in flight out of the count, cost included; returns how many questions that were."""
    columns = questions.c
    orphans = (columns.asker == asker) & (columns.state == IN_FLIGHT)
    # What was asked before, and counted then, stays as an unknown question.
    once = connection.execute(sa.delete(questions).where(orphans, columns.asked == 1)).rowcount
    discounted = dict(asked=columns.asked - 1, cost=columns.cost - columns.cost / columns.asked, state=UNKNOWN)
    return once + connection.execute(sa.update(questions).where(orphans).values(discounted)).rowcount


def summarise(connection: sa.Connection, living: Callable[[str], bool]) -> LedgerSummary:
    """Counts the questions by state; what is in flight for an asker that is not living counts as unknown."""
    columns = questions.c
    bound = source_row(connection)
    counts: collections.Counter[str] = collections.Counter()
    grouped = sa.select(columns.state, columns.asker, sa.func.count().label("rows"))
    for row in connection.execute(grouped.group_by(columns.state, columns.asker)):
        lost = row.state == IN_FLIGHT and not living(row.asker)
        counts[UNKNOWN if lost else row.state] += row.rows
    totals = connection.execute(
        sa.select(
            sa.func.coalesce(sa.func.sum(columns.cost), 0.0).label("cost"),
            sa.func.coalesce(sa.func.sum(sa.case((columns.asked == 0, 1), else_=0)), 0).label("imported"),
            sa.func.min(columns.asked_at).label("first"),
            sa.func.max(columns.asked_at).label("last"),
        )
    ).one()
    return LedgerSummary(
        teacher=bound.teacher if bound else None,
        view=bound.view if bound else None,
        dimension=bound.dimension if bound else None,
        spent=bound.spent if bound else 0,
        cost=float(totals.cost),
        answered=counts[ANSWERED],
        in_flight=counts[IN_FLIGHT],
        unknown=counts[UNKNOWN],
        bad=counts[BAD],
        imported=totals.imported,
        first_asked_at=totals.first,
        last_asked_at=totals.last,
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
