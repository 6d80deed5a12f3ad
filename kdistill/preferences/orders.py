"""Teachers that put candidates in order and show nothing else."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from absl import logging

from kdistill.data.images import Image, ImageSet
from kdistill.preferences.vectors_seen import VectorsSeen
from kdistill.teachers.asking import ask
from kdistill.teachers.compound import Comparing, CompoundQuestion, QueryAndCandidates, row_of
from kdistill.teachers.ledger.ledger import Ledger
from kdistill.teachers.ledger.records import LEARNING
from kdistill.teachers.providers.function import FunctionTeacher
from kdistill.teachers.teacher import Teacher


@runtime_checkable
class OrderTeacher(Protocol):
    """A black box that ranks candidates for a query image; one order is one question.

    Attributes:
        name: identifies the teacher; answers of another name never enter the same ledger.
        view: identifies what the teacher is shown of an image.

    A teacher that takes many questions in one request also has `rank_batch(questions)`: a sequence of (query,
    candidates) in, one row a question out. Without it each question is a batch of its own.
    """

    name: str
    view: str

    def rank(self, query: Image, candidates: Sequence[Image]) -> np.ndarray:
        """Returns int [k]: the positions of the candidates, the best match of the query first.

        Raises:
            NotAsked, NoAnswer, BadAnswer: as `Teacher.embed`.
        """
        ...


@dataclasses.dataclass(frozen=True)
class Orders:
    """The orders that a teacher gave.

    Attributes:
        queries: int64 [n], positions in the pool.
        candidates: int64 [n, k], positions in the pool, each row in the teacher's order, the best first.
        skipped: (question, reason) of each that could not be asked or was badly answered.
        unasked: questions left without an answer because the budget is spent.
        spent: questions that this call counted against the budget.
    """

    queries: np.ndarray
    candidates: np.ndarray
    skipped: tuple[tuple[str, str], ...]
    unasked: int
    spent: int


class OrdersByEmbedding:
    """Lets a teacher that embeds rank by cosine: for experiments, or where only orders may leave the house."""

    def __init__(self, teacher: Teacher) -> None:
        """Wraps the teacher; it embeds each image once."""
        self.name, self.view = f"orders of {teacher.name}", teacher.view
        self.repeatable = bool(getattr(teacher, "repeatable", False))
        self._vectors = VectorsSeen(teacher)

    def rank(self, query: Image, candidates: Sequence[Image]) -> np.ndarray:
        """Returns int64 [k]; candidates that are equally near stay in the order in which they were shown."""
        return self.rank_batch([(query, tuple(candidates))])[0]

    def rank_batch(self, questions: Sequence[QueryAndCandidates]) -> np.ndarray:
        """Returns int64 [n, k]."""
        self._vectors.see([image for query, candidates in questions for image in (query, *candidates)])
        return np.stack([np.argsort(-self._vectors.cosines(*question), kind="stable") for question in questions])


class OrdersByFunction:
    """Calls a function (query: Image, candidates: sequence of Image) -> order."""

    def __init__(self, teacher: FunctionTeacher) -> None:
        """Takes the function of a teacher, which may raise NotAsked or NoAnswer, and its name and view."""
        self.name, self.view, self.repeatable = teacher.name, teacher.view, teacher.repeatable
        self._function: Callable[..., Any] = teacher.function

    def rank(self, query: Image, candidates: Sequence[Image]) -> np.ndarray:
        """Returns what the function returns."""
        return self._function(query, candidates)


def as_order_teacher(teacher: Any) -> OrderTeacher:
    """Returns a teacher of orders: itself, its function, or its embeddings' cosines."""
    if isinstance(teacher, OrderTeacher):
        return teacher
    if isinstance(teacher, FunctionTeacher):
        return OrdersByFunction(teacher)
    return OrdersByEmbedding(teacher)


def ask_orders(
    teacher: OrderTeacher,
    pool: ImageSet,
    queries: np.ndarray,
    candidates: np.ndarray,
    ledger: Ledger,
    *,
    budget: int,
    batch_size: int = 32,
    strict: bool = False,
    price_per_query: float = 0.0,
    account: str = LEARNING,
    concurrency: int = 1,
) -> Orders:
    """Asks for the order of each query's candidates, once, within the budget, as `ask` does.

    An answer that is not a permutation is a bad one: counted, named, and never used.

    Args:
        teacher: the black box.
        pool: the images.
        queries: int [n], positions in the pool.
        candidates: int [n, k], positions in the pool.
        ledger: bound to this teacher, to orders of k candidates and to the teacher's view.
        budget: questions that the ledger may ever spend, 1 to n.
        batch_size: questions in one request, of teachers that take many.
        strict: raise at the first unreadable image or bad answer.
        price_per_query: recorded beside each question.
        account: who pays.
        concurrency: requests that may be under way at once.

    Raises:
        ArgumentError, KdistillError: as `ask`.
    """
    questions = order_questions(pool, queries, candidates)
    single = not hasattr(teacher, "rank_batch")
    answers = ask(
        comparing_orders(teacher, candidates.shape[1]),
        questions,
        range(len(questions)),
        ledger,
        budget=budget,
        batch_size=1 if single else batch_size,
        strict=strict,
        price_per_query=price_per_query,
        account=account,
        concurrency=concurrency,
    )
    asked = np.asarray(candidates, np.int64)[answers.indices]
    ordered = np.take_along_axis(asked, answers.embeddings.astype(np.int64), axis=1)
    asked_queries = np.asarray(queries, np.int64)[answers.indices]
    return Orders(asked_queries, ordered, answers.skipped, len(answers.unasked), answers.spent)


def order_questions(pool: ImageSet, queries: np.ndarray, candidates: np.ndarray) -> ImageSet:
    """Returns one compound question for each query (int [n]) and its candidates (int [n, k])."""
    hashes: dict[str, str] = {}
    return ImageSet(
        [
            CompoundQuestion.of(pool[int(query)], [pool[int(one)] for one in row], hashes)
            for query, row in zip(queries, candidates, strict=True)
        ]
    )


def comparing_orders(teacher: OrderTeacher, count: int) -> Comparing:
    """Returns the teacher in the form that `ask` and `plan` take: permutations of `count` places."""

    def answer(questions: Sequence[QueryAndCandidates]) -> np.ndarray:
        batch = getattr(teacher, "rank_batch", None)
        if batch is not None:
            return np.asarray(batch(questions))
        return np.stack([row_of(teacher.rank(*question), count) for question in questions])

    return Comparing(teacher, f"order/{count}", count, answer, _permutations)


def _permutations(rows: np.ndarray) -> np.ndarray:
    """Returns float64 [n, k], NaN in each row that does not hold 0 .. k-1 once each."""
    rows = np.array(rows, np.float64)
    if rows.ndim == 2:
        # A NaN is sorted to the end and equals nothing, so it fails as well.
        wrong = ~(np.sort(rows, axis=1) == np.arange(rows.shape[1])).all(axis=1)
        if wrong.any():
            logging.warning("%d of %d orders are no permutations of their candidates", wrong.sum(), len(rows))
        rows[wrong] = np.nan
    return rows
