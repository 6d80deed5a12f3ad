"""The ledger: a durable record of every question to a teacher, and the only way to spend a budget.

A question is a content hash seen through a view. It belongs to the account that first paid for it, and each asking
counts in the account that asks: budgets are bounds of accounts. An answer is paid for once, whoever asks for it later.
All but a question that was never asked count as spent:

    (absent) --reserve--> in flight --store---> answered    the vector is on disk, for good
                          in flight --release-> (absent)    certainly not charged: the budget is given back
                          in flight --mark, or its asker died--> unknown   perhaps charged; asked again it counts twice
                          in flight --its asker died--> (absent)  where the teacher is repeatable, so charges nothing
                          in flight --store or mark--> bad  charged, but no usable vector: never in the cache

One class and long: each method is one transaction, and together they are all that may be done to a ledger.
"""

import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa

from kdistill.errors import KdistillError
from kdistill.teachers.counted import counted
from kdistill.teachers.ledger import statements
from kdistill.teachers.ledger.database import questions, source
from kdistill.teachers.ledger.locations import open_database
from kdistill.teachers.ledger.migration import FORMAT
from kdistill.teachers.ledger.records import BAD, IN_FLIGHT, LEARNING, UNKNOWN, LedgerSummary, Question, Reservation
from kdistill.teachers.teacher import BadAnswer

MIN_FREE_BYTES = 32 << 20
"""With less room on the disk nothing is reserved: an answer that cannot be written would be paid for in vain."""


class Ledger:
    """The record of one teacher's answers in one place; open one in each process (and thread) that asks.

    Attributes:
        path: where it is, as messages say it: the file, or the address without its password.
    """

    def __init__(self, path: str | Path, *, create: bool = True, read_only: bool = False) -> None:
        """Opens, or with `create` makes, the ledger at `path`. One of an earlier format is brought up to date.

        Args:
            path: a file (SQLite; the askers are processes of one machine), or a `postgresql+psycopg://` address
                (askers on any machine).
            create: whether one is made where there is none.
            read_only: for what only reads: needs no right to write, and changes nothing, not even an earlier format.

        Raises:
            ArgumentError: an address that cannot be right.
            KdistillError: missing (without `create`), not writable, or not a ledger.
        """
        self._database = open_database(path, create=create and not read_only, read_only=read_only)
        self._askers = self._database.askers
        self.path = self._database.name
        try:
            self._check_format()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file or the connections. Questions still in flight are known as lost from then on."""
        self._database.close()

    def check(self, teacher: str, view: str, dimension: int | None = None) -> None:
        """Raises KdistillError, saying what differs, unless this ledger is empty or of this teacher, view and Dt."""
        with self._database.reading() as connection:
            self._compare(statements.source_row(connection), teacher, view, dimension)

    def bind(self, teacher: str, view: str, dimension: int | None = None) -> None:
        """Does as `check`, and makes an empty ledger this teacher's."""
        with self._database.writing() as connection:
            row = statements.source_row(connection)
            if row is None:
                values = dict(id=1, format=FORMAT, teacher=teacher, view=view, spent=0, created_at=time.time())
                row = statements.insert_source(connection, values | {"dimension": dimension})
            self._compare(row, teacher, view, dimension)
            if row.dimension is None and dimension is not None:
                connection.execute(sa.update(source).values(dimension=dimension))

    def reserve(
        self,
        asked: Sequence[Question],
        *,
        budget: int,
        limit: int,
        price: float = 0.0,
        retry_bad: bool = False,
        repeatable: bool = False,
        account: str = LEARNING,
    ) -> Reservation:
        """Counts up to `limit` of the questions against an account's budget, in one transaction.

        Answered questions (and bad ones without `retry_bad`) stand in none of the lists that come back.

        Args:
            asked: questions of distinct content, the most wanted first; none that is under way for this asker.
            budget: what the account may ever spend, over all processes.
            limit: the most that may be granted.
            price: cost of one question.
            retry_bad: whether a question that got a bad answer may be asked, and counted, again.
            repeatable: whether the teacher charges nothing (see Teacher): what lost askers had in flight is then
                given back to the budget instead of counted as perhaps charged.
            account: who pays.

        Raises:
            KdistillError: the ledger is not bound, or the disk is all but full (nothing is reserved).
        """
        free_bytes = self._database.free_bytes()
        if free_bytes is not None and free_bytes < MIN_FREE_BYTES:
            raise KdistillError(
                f"the disk of the ledger {self.path} has {free_bytes >> 20} MiB left, "
                f"less than the {MIN_FREE_BYTES >> 20} MiB that keep answers safe: nothing more is asked"
            )
        with self._database.explained():
            self._askers.join()
        with self._database.writing() as connection:
            bound = self._bound(connection)
            rows = statements.question_rows(connection, bound.view, [question.content for question in asked])
            in_flight = {row.asker for row in rows.values() if row.state == IN_FLIGHT}
            settle = statements.give_back if repeatable else statements.lose
            lost = {asker for asker in in_flight if asker != self._askers.id and not self._askers.living(asker)}
            for asker in lost:
                settle(connection, asker)
            # What an asker is waiting for it does not offer: what it offers and has in flight was left by a fault.
            own = [row.content for row in rows.values() if row.state == IN_FLIGHT and row.asker == self._askers.id]
            if own:
                settle(connection, self._askers.id, own)
            if lost or own:
                rows = statements.question_rows(connection, bound.view, [question.content for question in asked])
            free: list[Question] = []
            busy: list[Question] = []
            for question in asked:
                row = rows.get(question.content)
                if row is None or row.state == UNKNOWN or (row.state == BAD and retry_bad):
                    free.append(question)
                elif row.state == IN_FLIGHT:
                    busy.append(question)
            granted = free[: max(0, min(limit, budget - statements.spent_by(connection, account)))]
            new = [question for question in granted if question.content not in rows]
            again = [question for question in granted if question.content in rows]
            values = dict(asker=self._askers.id, asked_at=time.time(), state=IN_FLIGHT, payer=account, price=price)
            statements.insert(connection, bound.view, new, values | dict(asked=1, cost=price, account=account))
            counted = dict(asked=questions.c.asked + 1, cost=questions.c.cost + price)
            statements.update(connection, bound.view, again, values | counted)
            if granted:
                statements.charge(connection, account, len(granted), len(granted) * price)
        return Reservation(tuple(granted), tuple(busy), tuple(free[len(granted) :]))

    def store(self, asked: Sequence[Question], embeddings: np.ndarray) -> dict[str, str]:
        """Writes answers to reserved questions in one transaction; they are on disk when this returns.

        A row with NaN or infinity is recorded as a bad answer and not kept. The first answer of a question
        is final: another one changes nothing.

        Args:
            asked: the questions, n of them.
            embeddings: numbers [n, Dt], one row a question, kept as float32.

        Returns:
            content hash -> reason, of each answer that was not kept.

        Raises:
            BadAnswer: not one vector a question, or of another dimension than the ledger's
                (all questions are then recorded as badly answered).
        """
        vectors = np.asarray(embeddings)
        fault = None
        if vectors.ndim != 2 or vectors.shape[0] != len(asked) or vectors.shape[1] == 0:
            fault = (
                f"the teacher answered {counted(len(asked), 'question')} with an array of shape {list(vectors.shape)}"
            )
        elif vectors.dtype.kind not in "fiu":
            fault = f"the teacher answered with {vectors.dtype} instead of numbers"
        bad: list[Question] = list(asked)
        with self._database.writing() as connection:
            bound = self._bound(connection)
            if fault is None and bound.dimension not in (None, vectors.shape[1]):
                fault = (
                    f"the teacher answered {vectors.shape[1]} numbers a question, "
                    f"but the ledger {self.path} holds answers of {bound.dimension}"
                )
            if fault is None:
                with np.errstate(over="ignore"):  # what overflows becomes infinite, and is found at once
                    vectors = vectors.astype("<f4")
                finite = np.isfinite(vectors).all(axis=1)
                good = [question for question, is_good in zip(asked, finite, strict=True) if is_good]
                bad = [question for question, is_good in zip(asked, finite, strict=True) if not is_good]
                if good and bound.dimension is None:
                    connection.execute(sa.update(source).values(dimension=vectors.shape[1]))
                statements.write_answers(connection, bound.view, good, vectors[finite])
            statements.update(connection, bound.view, bad, {"state": BAD}, questions.c.state == IN_FLIGHT)
        if fault is not None:
            raise BadAnswer(fault)
        return {question.content: "the teacher's answer is not finite" for question in bad}

    def mark(self, asked: Sequence[Question], state: str) -> None:
        """Records that questions in flight got no answer (`UNKNOWN`) or an unusable one (`BAD`); both stay counted."""
        with self._database.writing() as connection:
            view = self._bound(connection).view
            statements.update(connection, view, asked, {"state": state}, questions.c.state == IN_FLIGHT)

    def release(self, asked: Sequence[Question]) -> None:
        """Gives the budget of reserved questions back: only where the teacher certainly counted nothing."""
        with self._database.writing() as connection:
            self._bound(connection)
            statements.give_back(connection, self._askers.id, [question.content for question in asked])

    def add_paid_elsewhere(
        self, asked: Sequence[Question], embeddings: np.ndarray, accounts: Sequence[str] | None = None
    ) -> int:
        """Writes finite answers (numbers [n, Dt]) that count nothing here; returns how many were new.

        Args:
            asked: the questions, n of them.
            embeddings: their answers.
            accounts: whose they were, n names; None for learning.
        """
        vectors = np.asarray(embeddings, "<f4")
        with self._database.writing() as connection:
            bound = self._bound(connection)
            self._compare(bound, bound.teacher, bound.view, vectors.shape[1])
            rows = statements.question_rows(connection, bound.view, [question.content for question in asked])
            # What is open here gets its answer too, and stays counted as often as it was asked.
            open_rows = [
                index
                for index, question in enumerate(asked)
                if question.content not in rows or rows[question.content].state in (UNKNOWN, BAD)
            ]
            new = [index for index in open_rows if asked[index].content not in rows]
            owners = [LEARNING] * len(asked) if accounts is None else accounts
            blank = dict(asked=0, cost=0.0, price=0.0, asker="import", asked_at=time.time(), state=UNKNOWN)
            for account in sorted({owners[index] for index in new}):
                owned = [asked[index] for index in new if owners[index] == account]
                statements.insert(connection, bound.view, owned, blank | dict(account=account, payer=account))
            statements.write_answers(connection, bound.view, [asked[index] for index in open_rows], vectors[open_rows])
        return len(open_rows)

    def states(self, contents: Iterable[str]) -> dict[str, str]:
        """Returns the state of each content hash that was ever asked."""
        with self._database.reading() as connection:
            bound = statements.source_row(connection)
            rows = {} if bound is None else statements.question_rows(connection, bound.view, contents)
        return {content: row.state for content, row in rows.items()}

    def contents(self, account: str) -> set[str]:
        """Returns the content hashes of the questions that an account was the first to pay for, whatever their state.

        By it a stage keeps accounts apart: what was asked for judging must not be learned from.
        """
        with self._database.reading() as connection:
            bound = statements.source_row(connection)
            return set() if bound is None else statements.contents_of(connection, bound.view, account)

    def answers(self, contents: Iterable[str]) -> dict[str, np.ndarray]:
        """Returns content hash -> float32 [Dt], of those that are answered.

        Raises:
            KdistillError: an answer on disk is damaged.
        """
        found: dict[str, np.ndarray] = {}
        with self._database.reading() as connection:
            bound = statements.source_row(connection)
            for row in () if bound is None else statements.answer_rows(connection, bound.view, contents):
                if len(row.embedding) != 4 * bound.dimension or zlib.crc32(row.embedding) != row.checksum:
                    raise KdistillError(f"the answer for {row.name!r} in the ledger {self.path} is damaged")
                found[row.content] = np.frombuffer(row.embedding, "<f4").astype(np.float32)
        return found

    def summary(self) -> LedgerSummary:
        """Counts the questions by account and state; changes nothing."""
        with self._database.reading() as connection:
            return statements.summarise(connection, self._askers.living)

    def rows(self) -> Iterator[Any]:
        """Yields every row as it stands on disk, by content hash."""
        with self._database.reading() as connection:
            everything = sa.select(questions).order_by(questions.c.content)
            yield from connection.execute(everything.execution_options(yield_per=1000))

    def file_faults(self) -> list[str]:
        """Returns what the database itself finds wrong with the file; empty when it is whole."""
        return self._database.faults()

    def _check_format(self) -> None:
        with self._database.reading() as connection:
            row = statements.source_row(connection)
        if row is not None and row.format != FORMAT:
            raise KdistillError(
                f"the ledger {self.path} has format {row.format}; this version reads formats 1 to {FORMAT}"
            )

    def _bound(self, connection: sa.Connection) -> Any:
        row = statements.source_row(connection)
        if row is None:
            raise KdistillError(f"the ledger {self.path} belongs to no teacher yet")
        return row

    def _compare(self, row: Any, teacher: str, view: str, dimension: int | None) -> None:
        given = {} if row is None else {"teacher": teacher, "view": view, "dimension": dimension}
        for what, value in given.items():
            kept = getattr(row, what)
            if kept is not None and value is not None and kept != value:
                raise KdistillError(
                    f"the ledger {self.path} holds answers of {what} {kept!r}, not of {value!r}: "
                    "use another ledger for these questions"
                )
