"""When the next request may start: a limit by the minute, and what a service says that has had enough.

Shared by all requests that are under way at once. While one of them has been turned away for a limit, no new one is
started: those that were turned away go first, so that none of them is left waiting until its retries are over.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping

from kdistill.teachers.services.transport.waits import used_up
from kdistill.teachers.teacher import NotAsked


class Pace:
    """The moments at which requests to one service may start."""

    def __init__(
        self,
        per_minute: float | None = None,
        *,
        sleep: Callable[[float], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Starts with none under way.

        Args:
            per_minute: the most requests a minute, evenly apart, those sent again among them; None for no limit.
            sleep: waits so many seconds; None for a wait that `hurried` ends.
            clock: seconds that go on.
        """
        self._apart = 0.0 if per_minute is None else 60.0 / per_minute
        self._sleep, self._clock = sleep, clock
        self._free_at = clock()  # no request starts before
        self._turned_away = 0
        self._changed = threading.Condition()
        self._hurry = threading.Event()

    @contextlib.contextmanager
    def turn(self) -> Iterator["Turn"]:
        """Yields one request's turn, for all of its attempts."""
        turn = Turn(self)
        try:
            yield turn
        finally:
            if turn.again:
                self._count(-1)

    @contextlib.contextmanager
    def hurried(self) -> Iterator[None]:
        """Within it nothing is waited for: whoever waits, or would have to, raises NotAsked."""
        self._hurry.set()
        with self._changed:
            self._changed.notify_all()
        try:
            yield
        finally:
            self._hurry.clear()

    def heard(self, headers: Mapping[str, str]) -> None:
        """Takes note of what a service says beside an answer: after a limit that is used up, nothing starts."""
        wait = used_up(headers)
        if wait:
            with self._changed:
                self._free_at = max(self._free_at, self._clock() + wait)

    def start(self, turn: "Turn") -> None:
        """Waits until the turn's next attempt may start.

        Raises:
            NotAsked: within `hurried`.
        """
        with self._changed:
            while self._turned_away and not turn.again and not self._hurry.is_set():
                self._changed.wait()
            now = self._clock()
            at = max(now, self._free_at)
            self._free_at = at + self._apart
        self.wait(at - now)

    def wait(self, seconds: float) -> None:
        """Waits; raises NotAsked within `hurried`."""
        if seconds > 0:
            (self._sleep or self._hurry.wait)(seconds)
        if self._hurry.is_set():
            raise NotAsked("the teacher was not asked: the run ends")

    def _count(self, change: int) -> None:
        with self._changed:
            self._turned_away += change
            self._changed.notify_all()


class Turn:
    """One request with all its attempts.

    Attributes:
        again: whether it was turned away and is on its way again.
    """

    def __init__(self, pace: Pace) -> None:
        self._pace, self.again = pace, False

    def start(self) -> None:
        """See `Pace.start`; before each attempt."""
        self._pace.start(self)

    def wait(self, seconds: float) -> None:
        """Waits before the next attempt; until the turn ends, no other request starts for the first time."""
        if not self.again:
            self.again = True
            self._pace._count(1)
        self._pace.wait(seconds)
