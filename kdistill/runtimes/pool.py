"""Things of which each runs one call at a time, shared by any number of threads."""

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Pool(Generic[Item]):
    """Lends each of up to `most` equal items to one caller at a time; further callers wait.

    The first item is made at once, so that its errors show; others when that many callers come together. They belong to
    no thread, so a server that starts a thread a request does not make one a request.
    """

    def __init__(self, make: Callable[[], Item], most: int) -> None:
        self.most = most
        self._make = make
        self._idle = deque([make()])
        self._free = threading.Semaphore(most)

    @contextlib.contextmanager
    def borrow(self) -> Iterator[Item]:
        """Yields an item that nobody else has until the block ends."""
        with self._free:
            try:
                item = self._idle.pop()
            except IndexError:
                item = self._make()
            try:
                yield item
            finally:
                self._idle.append(item)
