"""Teachers that say which of two images matches a query better and show nothing else."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from absl import logging

from kdistill.data.images import Image, ImageSet
from kdistill.errors import ArgumentError
from kdistill.preferences.vectors_seen import VectorsSeen
from kdistill.teachers.asking import ask
from kdistill.teachers.compound import Comparing, CompoundQuestion, QueryAndCandidates, row_of
from kdistill.teachers.ledger.ledger import Ledger
from kdistill.teachers.ledger.records import LEARNING
from kdistill.teachers.providers.function import FunctionTeacher
from kdistill.teachers.teacher import Teacher


@runtime_checkable
class PreferenceTeacher(Protocol):
    """A black box that compares two images for a query image; one comparison is one question.

    Attributes:
        name: identifies the teacher; answers of another name never enter the same ledger.
        view: identifies what the teacher is shown of an image.

    A teacher that takes many questions in one request also has `prefer_batch(questions)`: a sequence of (query,
    (first, second)) in, one probability a question out. Without it each question is a batch of its own.
    """

    name: str
    view: str

    def prefer(self, query: Image, first: Image, second: Image) -> float:
        """Returns the probability, 0 to 1, that the first is the better match; 0.5 is a tie.

        Raises:
            NotAsked, NoAnswer, BadAnswer: as `Teacher.embed`.
        """
        ...


@dataclasses.dataclass(frozen=True)
class Preferences:
    """What a teacher prefers.

    Attributes:
        queries, first, second: int64 [m], positions in the pool.
        probability: float32 [m], that the first is the better match.
        skipped: (question, reason) of each that could not be asked or was badly answered.
        unasked: questions left without an answer because the budget is spent.
        spent: questions that this call counted against the budget.
    """

    queries: np.ndarray
    first: np.ndarray
    second: np.ndarray
    probability: np.ndarray
    skipped: tuple[tuple[str, str], ...] = ()
    unasked: int = 0
    spent: int = 0


class PreferencesByEmbedding:
    """Lets a teacher that embeds compare: a logistic of the gap between two cosines (Bradley & Terry 1952)."""

    def __init__(self, teacher: Teacher, temperature: float = 0.1) -> None:
        """Wraps the teacher; it embeds each image once.

        Args:
            teacher: embeds images.
            temperature: gap of cosines at which the odds are e : 1; above 0.

        Raises:
            ArgumentError: a temperature that is not above 0.
        """
        if not temperature > 0:
            raise ArgumentError(f"the temperature of preferences must be above 0; {temperature} was given")
        self.name, self.view = f"preferences at {temperature:g} of {teacher.name}", teacher.view
        self.repeatable = bool(getattr(teacher, "repeatable", False))
        self._vectors, self._temperature = VectorsSeen(teacher), temperature

    def prefer(self, query: Image, first: Image, second: Image) -> float:
        """Returns 1 / (1 + exp(-(cos(query, first) - cos(query, second)) / temperature))."""
        return float(self.prefer_batch([(query, (first, second))])[0])

    def prefer_batch(self, questions: Sequence[QueryAndCandidates]) -> np.ndarray:
        """Returns float64 [n]."""
        self._vectors.see([image for query, pair in questions for image in (query, *pair)])
        cosines = np.stack([self._vectors.cosines(*question) for question in questions])
        return 1.0 / (1.0 + np.exp((cosines[:, 1] - cosines[:, 0]) / self._temperature))


class PreferencesByFunction:
    """Calls a function (query: Image, first: Image, second: Image) -> probability."""

    def __init__(self, teacher: FunctionTeacher) -> None:
        """Takes the function of a teacher, which may raise NotAsked or NoAnswer, and its name and view."""
        self.name, self.view, self.repeatable = teacher.name, teacher.view, teacher.repeatable
        self._function: Callable[..., Any] = teacher.function

    def prefer(self, query: Image, first: Image, second: Image) -> float:
        """Returns what the function returns."""
        return self._function(query, first, second)


def as_preference_teacher(teacher: Any) -> PreferenceTeacher:
    """Returns a teacher of preferences: itself, its function, or its embeddings' cosines."""
    if isinstance(teacher, PreferenceTeacher):
        return teacher
    if isinstance(teacher, FunctionTeacher):
        return PreferencesByFunction(teacher)
    return PreferencesByEmbedding(teacher)


def ask_preferences(
    teacher: PreferenceTeacher,
    pool: ImageSet,
    triples: np.ndarray,
    ledger: Ledger,
    *,
    budget: int,
    batch_size: int = 32,
    strict: bool = False,
    price_per_query: float = 0.0,
    account: str = LEARNING,
    concurrency: int = 1,
) -> Preferences:
    """Asks which of two images matches the query better, each question once, within the budget, as `ask` does.

    An answer that is not within 0 and 1 is a bad one: counted, named, and never used.

    Args:
        teacher: the black box.
        pool: the images.
        triples: int [m, 3], positions in the pool: query, first, second. (q, a, b) and (q, b, a) are two questions.
        ledger: bound to this teacher, to preferences and to the teacher's view.
        budget: questions that the ledger may ever spend, 1 to m.
        batch_size: questions in one request, of teachers that take many.
        strict: raise at the first unreadable image or bad answer.
        price_per_query: recorded beside each question.
        account: who pays.
        concurrency: requests that may be under way at once.

    Raises:
        ArgumentError, KdistillError: as `ask`.
    """
    questions = preference_questions(pool, triples)
    single = not hasattr(teacher, "prefer_batch")
    answers = ask(
        comparing_preferences(teacher),
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
    queries, first, second = np.asarray(triples, np.int64)[answers.indices].T
    probability = answers.embeddings[:, 0]
    return Preferences(queries, first, second, probability, answers.skipped, len(answers.unasked), answers.spent)


def preference_questions(pool: ImageSet, triples: np.ndarray) -> ImageSet:
    """Returns one compound question for each row (query, first, second) of int [m, 3]."""
    hashes: dict[str, str] = {}
    return ImageSet(
        [
            CompoundQuestion.of(pool[int(query)], [pool[int(first)], pool[int(second)]], hashes)
            for query, first, second in triples
        ]
    )


def comparing_preferences(teacher: PreferenceTeacher) -> Comparing:
    """Returns the teacher in the form that `ask` and `plan` take: one number a question."""

    def answer(questions: Sequence[QueryAndCandidates]) -> np.ndarray:
        batch = getattr(teacher, "prefer_batch", None)
        if batch is not None:
            return np.asarray(batch(questions)).reshape(len(questions), -1)
        return np.stack([row_of([teacher.prefer(query, *pair)], 1) for query, pair in questions])

    return Comparing(teacher, "preference", 1, answer, _probabilities)


def _probabilities(rows: np.ndarray) -> np.ndarray:
    """Returns float64 [n, 1], NaN where a number is not within 0 and 1."""
    rows = np.array(rows, np.float64)
    wrong = ~((rows >= 0) & (rows <= 1))
    if wrong.any():
        logging.warning("%d of %d preferences are no probabilities", wrong.sum(), len(rows))
    return np.where(wrong, np.nan, rows)
