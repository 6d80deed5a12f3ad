"""Asking: each image once, within the budget, every answer on disk before it is used."""

import contextlib
import dataclasses
import sys
import time
from collections.abc import Callable, Sequence

import numpy as np
from absl import logging

from kdistill.console.progress import progress_bar
from kdistill.data.images import Image, ImageSet, UnreadableImage
from kdistill.errors import KdistillError
from kdistill.teachers.counted import counted
from kdistill.teachers.ledger.ledger import Ledger
from kdistill.teachers.ledger.records import ANSWERED, BAD, LEARNING, UNKNOWN, Question
from kdistill.teachers.providers.function_faults import called, text_of
from kdistill.teachers.questions import Answers, Questions
from kdistill.teachers.teacher import BadAnswer, NoAnswer, NotAsked, Teacher

MAX_FRUITLESS_BATCHES = 3
"""Batches in a row without a usable answer that end a run: each of them may have been charged."""

BAD_BEFORE = "the teacher's answer could not be used when it was asked before"

_WINDOW = 4  # batches of open questions that are offered to the ledger at a time, since some may be busy
_POLL_SECONDS = 0.1


def ask(
    teacher: Teacher,
    images: ImageSet,
    indices: Sequence[int] | np.ndarray,
    ledger: Ledger,
    *,
    budget: int | None,
    batch_size: int = 32,
    strict: bool = False,
    price_per_query: float = 0.0,
    retry_bad: bool = False,
    account: str = LEARNING,
    sleep: Callable[[float], None] = time.sleep,
) -> Answers:
    """Asks the teacher about some images and returns all answers that the ledger has for them, whoever paid.

    Can be stopped and started again at any time, and run by several processes on one ledger: what was
    answered, in whatever account, is not asked again, and together they spend at most the account's budget. Images of
    equal content are one question. A question whose answer was lost is asked again (it then counts twice, unless the
    teacher is `repeatable`); one that was badly answered is not.

    Args:
        teacher: the black box.
        images: the pool.
        indices: int [k], distinct positions in the pool, the most wanted first.
        ledger: where the answers are kept; it is bound to this teacher and view.
        budget: what the account may ever spend, at least 1; for learning at most len(images). None for no bound.
        batch_size: images in one call of the teacher: what a kill can lose.
        strict: raise on the first unreadable image or bad answer instead of skipping it.
        price_per_query: recorded beside each question.
        retry_bad: ask again what was badly answered before.
        account: who pays for what is asked now.
        sleep: waits so many seconds between attempts of a function (tests pass their own).

    Raises:
        ArgumentError: a budget, batch size or index that cannot be right.
        KdistillError: the ledger is another teacher's; the teacher fails; not one answer is there at the end.
    """
    questions = Questions.of(images, indices, budget=budget, batch_size=batch_size, strict=strict, account=account)
    ledger.bind(teacher.name, teacher.view, getattr(teacher, "dimension", None))
    options = (budget, batch_size, strict, price_per_query, retry_bad, account)
    run = Run(teacher, ledger, questions.images, questions.skipped, *options, sleep=sleep)
    beyond = run.ask_all()
    return questions.answers(ledger, beyond, run.spent)


@dataclasses.dataclass
class Run:
    """One asker's work: offers the open questions to the ledger until none can be answered any more."""

    teacher: Teacher
    ledger: Ledger
    images: dict[str, Image]
    skipped: dict[str, str]
    budget: int | None
    batch_size: int
    strict: bool
    price: float
    retry_bad: bool
    account: str
    sleep: Callable[[float], None] = time.sleep
    spent: int = 0
    fruitless: int = 0

    @property
    def repeatable(self) -> bool:
        return bool(getattr(self.teacher, "repeatable", False))

    def ask_all(self) -> set[str]:
        """Asks what is open; returns the contents that the budget does not reach."""
        pending = self._open_questions()
        ahead = _WINDOW * self.batch_size
        idle = 0  # open questions looked at since the last one that was granted
        busy_seen = False
        with progress_bar(total=len(self.images), initial=len(self.images) - len(pending), description="asking") as bar:
            while pending:
                window, rest = pending[:ahead], pending[ahead:]
                reserved = self.ledger.reserve(
                    window,
                    budget=sys.maxsize if self.budget is None else self.budget,
                    limit=self.batch_size,
                    price=self.price,
                    retry_bad=self.retry_bad,
                    repeatable=self.repeatable,
                    account=self.account,
                )
                if reserved.granted:
                    self.spent += len(reserved.granted)
                    again = self._ask_batch(reserved.granted)
                    pending = [*reserved.left, *rest, *again, *reserved.busy]
                    idle, busy_seen = 0, False
                else:
                    pending = [*rest, *reserved.left, *reserved.busy]
                    idle += len(reserved.left) + len(reserved.busy)
                    busy_seen = busy_seen or bool(reserved.busy)
                bar.update(len(self.images) - len(pending) - bar.n)
                if idle >= len(pending):
                    if not busy_seen:
                        break
                    # Other processes are asking the rest; what they lose or give back may become ours.
                    time.sleep(_POLL_SECONDS)
                    idle, busy_seen = 0, False
        return {question.content for question in pending}

    def _open_questions(self) -> list[Question]:
        states = self.ledger.states(self.images)
        pending = []
        for content, image in self.images.items():
            state = states.get(content)
            if state == BAD and not self.retry_bad:
                self._skip(image.id, BAD_BEFORE)
            elif state != ANSWERED:
                pending.append(Question(content, image.id))
        return pending

    def _skip(self, name: str, reason: str) -> None:
        if self.strict:
            raise KdistillError(f"image {name!r}: {reason}")
        self.skipped[name] = reason

    def _ask_batch(self, granted: tuple[Question, ...]) -> list[Question]:
        """Asks reserved questions and settles each with the ledger; returns those that stay open."""
        try:
            return self._settle(granted)
        except BaseException as error:
            # Whatever happened, what was not settled may have been charged, unless nothing ever is.
            with contextlib.suppress(KdistillError):
                if self.repeatable:
                    self.ledger.release(granted)
                else:
                    self.ledger.mark(granted, UNKNOWN)
            if isinstance(error, Exception) and not isinstance(error, KdistillError):
                raise KdistillError(f"the teacher {self.teacher.name!r} failed: {text_of(error)}") from error
            raise

    def _settle(self, granted: tuple[Question, ...]) -> list[Question]:
        images = [self.images[question.content] for question in granted]
        try:
            unchanged = [question for question in granted if not self._changed(question)]
            if len(unchanged) < len(granted):
                self._release(granted)
                return unchanged
            self._store(granted, called(self.teacher.name, self.teacher.embed, images, sleep=self.sleep))
            return []
        except NotAsked:
            self._release(granted)
            raise
        except UnreadableImage:
            self._release(granted)
            readable = [question for question in granted if self._readable(question)]
            if len(readable) == len(granted):
                raise
            return readable
        except BadAnswer:
            self.ledger.mark(granted, BAD)
            raise
        except NoAnswer as error:
            answered = [granted[row] for row in error.rows]
            missing = [question for question in granted if question not in answered]
            self.ledger.mark(missing, UNKNOWN)
            self._store(answered, error.embeddings)
            logging.warning("%s; %d of %s stay unanswered", error, len(missing), counted(len(granted), "question"))
            return missing

    def _store(self, asked: Sequence[Question], embeddings: np.ndarray) -> None:
        bad = self.ledger.store(asked, embeddings) if asked else {}
        self.fruitless = 0 if len(bad) < len(asked) else self.fruitless + 1
        for question in asked:
            if question.content in bad:
                self._skip(question.name, bad[question.content])
        if self.fruitless >= MAX_FRUITLESS_BATCHES:
            raise KdistillError(
                f"the teacher {self.teacher.name!r} gave no usable answer to {self.fruitless} batches in a row; "
                "each may have been charged, so nothing more is asked"
            )

    def _release(self, granted: Sequence[Question]) -> None:
        self.ledger.release(granted)
        self.spent -= len(granted)

    def _changed(self, question: Question) -> bool:
        """Says whether an image was edited since its hash was taken: the answer would be kept as another's."""
        image = self.images[question.content]
        if image.content_hash() == question.content:
            return False
        self._skip(image.id, "the file was changed while the teacher was being asked; start again to ask about it")
        return True

    def _readable(self, question: Question) -> bool:
        try:
            self.images[question.content].pixels()
        except UnreadableImage as error:
            self._skip(question.name, str(error))
            return False
        return True
