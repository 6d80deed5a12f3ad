"""Questions that are under way: one in this thread, or several at once in threads of their own.

The ledger stays with the thread that began: it alone reserves, sends off, and settles what comes back, in the order in
which it comes.
"""

import contextlib
import dataclasses
import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from kdistill.teachers.ledger.records import Question
from kdistill.teachers.teacher import NotAsked

GRACE_SECONDS = 8.0
"""For which an interrupted run still waits for answers that are on their way: they are paid for."""


@dataclasses.dataclass(frozen=True)
class Landed:
    """A batch that came back: its answers, or what was raised instead."""

    asked: tuple[Question, ...]
    answers: np.ndarray | None = None
    error: BaseException | None = None

    def result(self) -> Any:
        """Returns the answers, or raises."""
        if self.error is not None:
            raise self.error
        return self.answers


class UnderWay:
    """Batches that were sent and have not come back yet."""

    def __init__(self, at_once: int) -> None:
        """Starts with none; with `at_once` 1, each is asked in the thread that sends it."""
        self._at_once = at_once
        self._landed: queue.SimpleQueue[Landed] = queue.SimpleQueue()
        self._flying: dict[int, tuple[Question, ...]] = {}

    def __len__(self) -> int:
        return len(self._flying)

    def batches(self) -> list[tuple[Question, ...]]:
        """Returns those that have not come back."""
        return list(self._flying.values())

    def send(self, asked: tuple[Question, ...], ask: Callable[[], np.ndarray]) -> None:
        """Sends a batch off; `ask` returns its answers."""

        def fly() -> None:
            try:
                landed = Landed(asked, ask())
            except BaseException as error:
                landed = Landed(asked, error=error)
            self._landed.put(landed)

        self._flying[id(asked)] = asked
        if self._at_once == 1:
            fly()
        else:
            # Daemons: a process that gives up waiting must be able to end.
            threading.Thread(target=fly, name="asking", daemon=True).start()

    def next(self, timeout: float | None = None) -> Landed:
        """Waits for the next batch that comes back.

        Raises:
            queue.Empty: none did within the timeout.
        """
        landed = self._landed.get(timeout=timeout)
        del self._flying[id(landed.asked)]
        return landed

    def rest(self, grace: float | None) -> Iterator[Landed]:
        """Yields the batches that still come back, within so many seconds (None for any time); others stay behind."""
        ends = None if grace is None else time.monotonic() + grace
        while self._flying:
            left = None if ends is None else max(0.0, ends - time.monotonic())
            try:
                yield self.next(left)
            except queue.Empty:
                return

    def left_behind(self) -> list[tuple[Question, ...]]:
        """Returns the batches that have not come back, and forgets them."""
        batches = list(self._flying.values())
        self._flying.clear()
        return batches


class Patience:
    """A wait that can be ended, for attempts of functions."""

    def __init__(self, sleep: Callable[[float], None] | None) -> None:
        """Takes what waits (tests pass their own); None for a wait that `hurried` ends."""
        self._sleep, self._hurry = sleep, threading.Event()

    def wait(self, seconds: float) -> None:
        """Waits; raises NotAsked within `hurried`."""
        if not self._hurry.is_set():
            (self._sleep or self._hurry.wait)(seconds)
        if self._hurry.is_set():
            raise NotAsked("the teacher was not asked: the run ends")

    @contextlib.contextmanager
    def hurried(self) -> Iterator[None]:
        """Within it nothing is waited for."""
        self._hurry.set()
        try:
            yield
        finally:
            self._hurry.clear()
