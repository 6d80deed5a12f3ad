"""One asker's work: questions are reserved, sent, and settled with the ledger, one or several requests at a time."""

import contextlib
import dataclasses
import sys
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from absl import logging

from kdistill.console.progress import progress_bar
from kdistill.data.images import Image, UnreadableImage
from kdistill.errors import KdistillError
from kdistill.teachers.counted import counted
from kdistill.teachers.ledger.ledger import Ledger
from kdistill.teachers.ledger.records import ANSWERED, BAD, UNKNOWN, Question, Reservation
from kdistill.teachers.providers.function_faults import called, text_of
from kdistill.teachers.teacher import BadAnswer, NoAnswer, NotAsked, Teacher
from kdistill.teachers.under_way import GRACE_SECONDS, Landed, Patience, UnderWay

MAX_FRUITLESS_BATCHES = 3
"""Batches in a row without a usable answer that end a run: each of them may have been charged."""

BAD_BEFORE = "the teacher's answer could not be used when it was asked before"

_WINDOW = 4  # batches of open questions that are offered to the ledger at a time, since some may be busy
_POLL_SECONDS = 0.1


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
    concurrency: int = 1
    sleep: Callable[[float], None] | None = None
    spent: int = 0
    fruitless: int = 0
    proven: bool = False

    def __post_init__(self) -> None:
        """Takes no more images at a time than the teacher does."""
        self.batch_size = min(self.batch_size, getattr(self.teacher, "largest_batch", None) or self.batch_size)
        self._patience = Patience(self.sleep)

    @property
    def repeatable(self) -> bool:
        return bool(getattr(self.teacher, "repeatable", False))

    def ask_all(self) -> set[str]:
        """Asks what is open; returns the contents that the budget does not reach."""
        pending = self._open_questions()
        under_way = UnderWay(self.concurrency)
        idle = 0  # open questions looked at since the last one that was granted
        busy_seen = False
        with (
            self._all_settled(under_way),
            progress_bar(total=len(self.images), initial=len(self.images) - len(pending), description="asking") as bar,
        ):
            while pending or under_way:
                if idle < len(pending) and len(under_way) < self._at_once():
                    reserved, rest = self._reserve(pending)
                    if reserved.granted:
                        again = self._send(under_way, reserved.granted)
                        pending = [*reserved.left, *rest, *again, *reserved.busy]
                        idle, busy_seen = 0, False
                    else:
                        pending = [*rest, *reserved.left, *reserved.busy]
                        idle += len(reserved.left) + len(reserved.busy)
                        busy_seen = busy_seen or bool(reserved.busy)
                elif under_way:
                    pending += self._land(under_way.next())
                    idle, busy_seen = 0, False
                elif busy_seen:
                    # Other processes are asking the rest; what they lose or give back may become ours.
                    time.sleep(_POLL_SECONDS)
                    idle, busy_seen = 0, False
                else:
                    break
                flying = sum(map(len, under_way.batches()))
                bar.update(len(self.images) - len(pending) - flying - bar.n)
        return {question.content for question in pending}

    def _at_once(self) -> int:
        """Returns how many batches may be under way: what is wrong with every request shows in one."""
        return self.concurrency if self.proven and not self.fruitless else 1

    def _reserve(self, pending: list[Question]) -> tuple[Reservation, list[Question]]:
        ahead = _WINDOW * self.batch_size
        reserved = self.ledger.reserve(
            pending[:ahead],
            budget=sys.maxsize if self.budget is None else self.budget,
            limit=self.batch_size,
            price=self.price,
            retry_bad=self.retry_bad,
            repeatable=self.repeatable,
            account=self.account,
        )
        self.spent += len(reserved.granted)
        return reserved, pending[ahead:]

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

    def _send(self, under_way: UnderWay, granted: tuple[Question, ...]) -> list[Question]:
        """Asks reserved questions; returns those that were not sent and stay open."""
        with self._nothing_forgotten(granted):
            unchanged = [question for question in granted if not self._changed(question)]
            if len(unchanged) < len(granted):
                self._release(granted)
                return unchanged
            images = [self.images[question.content] for question in granted]
            under_way.send(
                granted,
                lambda: called(self.teacher.name, self.teacher.embed, images, sleep=self._patience.wait),
            )
        return []

    def _land(self, landed: Landed) -> list[Question]:
        """Settles a batch that came back with the ledger; returns the questions that stay open."""
        with self._nothing_forgotten(landed.asked):
            return self._settle(landed)

    @contextlib.contextmanager
    def _all_settled(self, under_way: UnderWay) -> Iterator[None]:
        """Whatever ends the run, what is under way then is waited for and kept: it is paid for."""
        try:
            yield
        except BaseException as error:
            grace = None if isinstance(error, Exception) else GRACE_SECONDS
            try:
                if under_way:
                    logging.info("waiting for %s that are under way", counted(len(under_way), "request"))
                with self._patience.hurried(), getattr(self.teacher, "hurried", contextlib.nullcontext)():
                    for landed in under_way.rest(grace):
                        try:
                            self._land(landed)
                        except KdistillError as another:
                            logging.warning("%s", another)
            finally:
                for batch in under_way.left_behind():
                    self._forget(batch)
            raise

    @contextlib.contextmanager
    def _nothing_forgotten(self, granted: tuple[Question, ...]) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            self._forget(granted)
            if isinstance(error, Exception) and not isinstance(error, KdistillError):
                raise KdistillError(f"the teacher {self.teacher.name!r} failed: {text_of(error)}") from error
            raise

    def _forget(self, granted: tuple[Question, ...]) -> None:
        """Settles what was not settled otherwise: it may have been charged, unless nothing ever is."""
        with contextlib.suppress(KdistillError):
            if self.repeatable:
                self.ledger.release(granted)
            else:
                self.ledger.mark(granted, UNKNOWN)

    def _settle(self, landed: Landed) -> list[Question]:
        granted = landed.asked
        try:
            self._store(granted, landed.result())
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
        self.proven = self.proven or len(bad) < len(asked)
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
        check = getattr(self.teacher, "check_photo", Image.pixels)
        try:
            check(self.images[question.content])
        except UnreadableImage as error:
            self._skip(question.name, str(error))
            return False
        return True
