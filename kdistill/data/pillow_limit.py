"""How large an image may be; Pillow's own limit, one variable of the process, is lifted for a moment where need be."""

import contextlib
import threading
from collections.abc import Iterator

import PIL.Image

MAX_MEGAPIXELS = 64.0
"""Larger images are refused before they are decoded, unless asked for: a few kilobytes can claim to be gigapixels."""


class _PillowLimit:
    """Pillow's own limit, some 179 million pixels, of which there is one in a process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._usual: int | None = None
        self._asked: list[float] = []

    def lift(self, max_megapixels: float) -> None:
        with self._lock:
            if not self._asked:
                self._usual = PIL.Image.MAX_IMAGE_PIXELS
            self._asked.append(max_megapixels)
            self._set()

    def lower(self, max_megapixels: float) -> None:
        with self._lock:
            self._asked.remove(max_megapixels)
            self._set()

    def _set(self) -> None:
        if self._usual is not None:
            PIL.Image.MAX_IMAGE_PIXELS = max([self._usual, *(int(asked * 1e6) for asked in self._asked)])


_pillow_limit = _PillowLimit()


@contextlib.contextmanager
def sizes_allowed(max_megapixels: float) -> Iterator[None]:
    """Lifts Pillow's own limit for as long as an image is read that may be larger than usual."""
    if max_megapixels <= MAX_MEGAPIXELS:
        yield
        return
    _pillow_limit.lift(max_megapixels)
    try:
        yield
    finally:
        _pillow_limit.lower(max_megapixels)
