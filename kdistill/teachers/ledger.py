"""The ledger: a durable record of every question to a teacher, and the only way to spend a budget.

A question is a content hash seen through a view. It is in one of four states; all but a question that was never
asked count as spent:

    (absent) --reserve--> in flight --store--> answered            the vector is on disk, for good
                          in flight --release--> (absent)          certainly not charged, the budget is given back
                          in flight --mark, or its asker died--> unknown      perhaps charged: asked again on demand,
                                                                              and then it counts twice
                          in flight --store--> bad                 charged, but not a vector: kept out of the cache
"""

import collections
import dataclasses
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import sqlalchemy as sa

from kdistill.errors import KdistillError
from kdistill.teachers.database import Askers, Database, questions, source
from kdistill.teachers.teacher import BadAnswer

FORMAT = 1
IN_FLIGHT, ANSWERED, UNKNOWN, BAD = "in flight", "answered", "unknown", "bad"

MIN_FREE_BYTES = 32 << 20
"""With less room on the disk nothing is reserved: an answer that cannot be written would be paid for in vain."""

_IN_LIST = 500  # values in one SQL `IN (...)`, below every engine's limit
_Item = TypeVar("_Item")


@dataclasses.dataclass(frozen=True)
class Question:
    """One image to ask about: the hash of its content, and the id under which it is known here."""

    content: str
    name: str


@dataclasses.dataclass(frozen=True)
class Reservation:
    """What `Ledger.reserve` made of a list of questions.

    Attributes:
        granted: counted against the budget for this process: ask them now.
        busy: being asked by another living process.
        left: free to be asked, but beyond the limit or the budget.
    """

    granted: tuple[Question, ...]
    busy: tuple[Question, ...]
    left: tuple[Question, ...]


@dataclasses.dataclass(frozen=True)
class LedgerSummary:
    """What was spent and what came of it.

    Attributes:
        teacher, view: whose answers these are (None in a ledger without any question).
        dimension: Dt, None before the first answer.
        spent: questions that count against the budget, those asked twice counted twice.
        cost: their price in the user's currency.
        answered, in_flight, unknown, bad: questions in each state; those of lost askers are unknown.
        imported: answers that came from another ledger and count nothing here.
        first_asked_at, last_asked_at: seconds since 1970 (UTC), or None.
    """

    teacher: str | None
    view: str | None
    dimension: int | None
    spent: int
    cost: float
    answered: int
    in_flight: int
    unknown: int
    bad: int
    imported: int
    first_asked_at: float | None
    last_asked_at: float | None


class Ledger:
    """The record of one teacher's answers in one file; open one in each process that asks."""

    def __init__(self, path: str | Path, *, create: bool = True) -> None:
        """Opens, or with `create` makes, the ledger at `path`.

        Raises:
            KdistillError: missing (without `create`), not writable, or not a ledger.
        """
        self.path = Path(path)
        self._database = Database(self.path, create=create)
        self._askers = Askers(self.path.with_name(self.path.name + "-askers"))
        with self._database.reading() as connection:
            row = _source(connection)
        if row is not None and row.format != FORMAT:
            raise KdistillError(f"the ledger {path} has format {row.format}; this version reads format {FORMAT}")

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file. Questions still in flight are known as lost from then on."""
        self._database.close()
        self._askers.leave()

    def check(self, teacher: str, view: str, dimension: int | None = None) -> None:
        """Raises KdistillError, saying what differs, unless this ledger is empty or of this teacher, view and Dt."""
        with self._database.reading() as connection:
            self._compare(_source(connection), teacher, view, dimension)

    def bind(self, teacher: str, view: str, dimension: int | None = None) -> None:
        """Does as `check`, and makes an empty ledger this teacher's."""
        with self._database.writing() as connection:
            row = _source(connection)
            self._compare(row, teacher, view, dimension)
            if row is None:
                values = dict(id=1, format=FORMAT, teacher=teacher, view=view, spent=0, created_at=time.time())
                connection.execute(sa.insert(source), values | {"dimension": dimension})
            elif row.dimension is None and dimension is not None:
                connection.execute(sa.update(source).values(dimension=dimension))

    def reserve(
        self, asked: Sequence[Question], *, budget: int, limit: int, price: float = 0.0, retry_bad: bool = False
    ) -> Reservation:
        """Counts up to `limit` of the questions against the budget, in one transaction.

        Answered questions (and bad ones without `retry_bad`) stand in none of the lists that come back.

        Args:
            asked: questions of distinct content, the most wanted first.
            budget: what the whole ledger may ever spend, over all processes.
            limit: the most that may be granted.
            price: cost of one question.
            retry_bad: whether a question that got a bad answer may be asked, and counted, again.

        Raises:
            KdistillError: the ledger is not bound, or the disk is all but full (nothing is reserved).
        """
        free_bytes = self._database.free_bytes()
        if free_bytes < MIN_FREE_BYTES:
            raise KdistillError(
                f"the disk of the ledger {self.path} has {free_bytes >> 20} MiB left, "
                f"less than the {MIN_FREE_BYTES >> 20} MiB that keep answers safe: nothing more is asked"
            )
        self._askers.join()
        with self._database.writing() as connection:
            bound = self._bound(connection)
            rows = _rows(connection, bound.view, [question.content for question in asked])
            lost = self._mark_lost(connection, {row.asker for row in rows.values() if row.state == IN_FLIGHT})
            free: list[Question] = []
            busy: list[Question] = []
            for question in asked:
                row = rows.get(question.content)
                if row is None or row.state == UNKNOWN or (row.state == BAD and retry_bad):
                    free.append(question)
                elif row.state == IN_FLIGHT:
                    (free if row.asker in lost else busy).append(question)
            granted = free[: max(0, min(limit, budget - bound.spent))]
            now = time.time()
            values = dict(view=bound.view, asked=1, cost=price, asker=self._askers.id, asked_at=now, state=IN_FLIGHT)
            new = [values | dataclasses.asdict(question) for question in granted if question.content not in rows]
            again = [{"key": question.content} for question in granted if question.content in rows]
            if new:
                connection.execute(sa.insert(questions), new)
            if again:
                counted = dict(asked=questions.c.asked + 1, cost=questions.c.cost + price)
                changed = dict(asker=self._askers.id, asked_at=now, state=IN_FLIGHT)
                connection.execute(_update(bound.view).values(**counted, **changed), again)
            if granted:
                connection.execute(sa.update(source).values(spent=source.c.spent + len(granted)))
        return Reservation(tuple(granted), tuple(busy), tuple(free[len(granted) :]))

    def store(self, asked: Sequence[Question], embeddings: np.ndarray) -> dict[str, str]:
        """Writes answers to reserved questions in one transaction; on disk when this returns.

        A row with NaN or infinity is recorded as a bad answer and not kept. The first answer of a question
        is final: another one changes nothing.

        Args:
            asked: the questions, n of them.
            embeddings: float32 [n, Dt], one row a question.

        Returns:
            content hash -> reason, of each answer that was not kept.

        Raises:
            BadAnswer: not one vector a question, or of another dimension than the ledger's
                (all questions are then recorded as badly answered).
        """
        vectors = np.asarray(embeddings)
        fault = None
        if vectors.ndim != 2 or vectors.shape[0] != len(asked) or vectors.shape[1] == 0:
            fault = f"the teacher answered {len(asked)} images with an array of shape {list(vectors.shape)}"
        elif vectors.dtype.kind not in "fiu":
            fault = f"the teacher answered with {vectors.dtype} instead of numbers"
        with self._database.writing() as connection:
            bound = self._bound(connection)
            if fault is None and bound.dimension not in (None, vectors.shape[1]):
                fault = (
                    f"the teacher answered {vectors.shape[1]} numbers an image, "
                    f"but the ledger {self.path} holds answers of {bound.dimension}"
                )
            if fault is not None:
                self._mark(connection, bound.view, asked, BAD)
            else:
                with np.errstate(over="ignore"):  # what overflows becomes infinite, and is found below
                    vectors = vectors.astype("<f4")
                finite = np.isfinite(vectors).all(axis=1)
                good = [index for index in range(len(asked)) if finite[index]]
                bad = [asked[index] for index in range(len(asked)) if not finite[index]]
                self._mark(connection, bound.view, bad, BAD)
                if good:
                    if bound.dimension is None:
                        connection.execute(sa.update(source).values(dimension=vectors.shape[1]))
                    _write_answers(connection, bound.view, [(asked[index], vectors[index]) for index in good])
        if fault is not None:
            raise BadAnswer(fault)
        return {question.content: "the teacher's answer is not finite" for question in bad}

    def mark(self, asked: Sequence[Question], state: str) -> None:
        """Records that questions in flight got no answer (`UNKNOWN`) or an unusable one (`BAD`); both stay counted."""
        with self._database.writing() as connection:
            self._mark(connection, self._bound(connection).view, asked, state)

    def release(self, asked: Sequence[Question], *, price: float = 0.0) -> None:
        """Gives the budget of reserved questions back: only where the teacher certainly counted nothing."""
        keys = [{"key": question.content} for question in asked]
        if not keys:
            return
        with self._database.writing() as connection:
            view = self._bound(connection).view
            mine = _update(view).where(questions.c.asker == self._askers.id, questions.c.state == IN_FLIGHT)
            values = dict(asked=questions.c.asked - 1, cost=questions.c.cost - price, state=UNKNOWN)
            released = connection.execute(mine.values(**values), keys).rowcount
            connection.execute(sa.update(source).values(spent=source.c.spent - released))
            # A question that was asked before, and counted then, stays as an unknown one; others are forgotten.
            never = (questions.c.view == view) & (questions.c.content == sa.bindparam("key")) & (questions.c.asked == 0)
            connection.execute(sa.delete(questions).where(never, questions.c.state == UNKNOWN), keys)

    def states(self, contents: Iterable[str]) -> dict[str, str]:
        """Returns the state of each content hash that was ever asked."""
        with self._database.reading() as connection:
            bound = _source(connection)
            rows = {} if bound is None else _rows(connection, bound.view, list(contents))
        return {content: row.state for content, row in rows.items()}

    def answers(self, contents: Iterable[str]) -> dict[str, np.ndarray]:
        """Returns content hash -> float32 [Dt], of those that are answered.

        Raises:
            KdistillError: an answer on disk is damaged.
        """
        found: dict[str, np.ndarray] = {}
        with self._database.reading() as connection:
            bound = _source(connection)
            if bound is None:
                return found
            wanted = sa.select(questions.c.content, questions.c.name, questions.c.embedding, questions.c.checksum)
            wanted = wanted.where(questions.c.view == bound.view, questions.c.state == ANSWERED)
            for chunk in _chunks(list(contents)):
                for row in connection.execute(wanted.where(questions.c.content.in_(chunk))):
                    if len(row.embedding) != 4 * bound.dimension or zlib.crc32(row.embedding) != row.checksum:
                        raise KdistillError(f"the answer for {row.name!r} in the ledger {self.path} is damaged")
                    found[row.content] = np.frombuffer(row.embedding, "<f4").astype(np.float32)
        return found

    def summary(self) -> LedgerSummary:
        """Counts the questions by state; changes nothing."""
        columns = questions.c
        with self._database.reading() as connection:
            bound = _source(connection)
            grouped = sa.select(columns.state, columns.asker, sa.func.count().label("rows"))
            counts: collections.Counter[str] = collections.Counter()
            for row in connection.execute(grouped.group_by(columns.state, columns.asker)):
                gone = row.state == IN_FLIGHT and not self._askers.living(row.asker)
                counts[UNKNOWN if gone else row.state] += row.rows
            totals = connection.execute(
                sa.select(
                    sa.func.coalesce(sa.func.sum(columns.cost), 0.0).label("cost"),
                    sa.func.count().filter(columns.asked == 0).label("imported"),
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

    def _bound(self, connection: sa.Connection) -> Any:
        row = _source(connection)
        if row is None:
            raise KdistillError(f"the ledger {self.path} belongs to no teacher yet")
        return row

    def _compare(self, row: Any, teacher: str, view: str, dimension: int | None) -> None:
        if row is None:
            return
        given = {"teacher": teacher, "view": view, "dimension": dimension}
        for what, value in given.items():
            kept = getattr(row, what)
            if kept is not None and value is not None and kept != value:
                raise KdistillError(
                    f"the ledger {self.path} holds answers of {what} {kept!r}, not of {value!r}: "
                    "use another ledger for these questions"
                )

    def _mark_lost(self, connection: sa.Connection, askers: set[str]) -> set[str]:
        lost = {asker for asker in askers if not self._askers.living(asker)}
        for asker in lost:
            orphans = (questions.c.asker == asker) & (questions.c.state == IN_FLIGHT)
            connection.execute(sa.update(questions).where(orphans).values(state=UNKNOWN))
        return lost

    @staticmethod
    def _mark(connection: sa.Connection, view: str, asked: Sequence[Question], state: str) -> None:
        if asked:
            in_flight = _update(view).where(questions.c.state == IN_FLIGHT)
            connection.execute(in_flight.values(state=state), [{"key": question.content} for question in asked])


def _source(connection: sa.Connection) -> Any:
    # FOR UPDATE makes reservations queue up on engines with row locks; SQLite's transaction locks the whole file.
    statement = sa.select(source)
    if not connection.get_execution_options().get("ledger_reading", False):
        statement = statement.with_for_update()
    return connection.execute(statement).one_or_none()


def _rows(connection: sa.Connection, view: str, contents: list[str]) -> dict[str, Any]:
    statement = sa.select(questions.c.content, questions.c.state, questions.c.asker).where(questions.c.view == view)
    found = {}
    for chunk in _chunks(contents):
        for row in connection.execute(statement.where(questions.c.content.in_(chunk))):
            found[row.content] = row
    return found


def _update(view: str) -> sa.Update:
    return sa.update(questions).where(questions.c.content == sa.bindparam("key"), questions.c.view == view)


def _write_answers(connection: sa.Connection, view: str, answers: list[tuple[Question, np.ndarray]]) -> None:
    now = time.time()
    rows = []
    for question, vector in answers:
        encoded = vector.tobytes()
        rows.append({"key": question.content, "encoded": encoded, "crc": zlib.crc32(encoded)})
    statement = _update(view).where(questions.c.state != ANSWERED)
    values = dict(embedding=sa.bindparam("encoded"), checksum=sa.bindparam("crc"), state=ANSWERED, answered_at=now)
    connection.execute(statement.values(**values), rows)


def _chunks(items: list[_Item]) -> Iterator[list[_Item]]:
    for start in range(0, len(items), _IN_LIST):
        yield items[start : start + _IN_LIST]
