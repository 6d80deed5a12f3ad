"""Keeps native libraries' chatter off the terminal: they write to the file descriptors, past Python."""

import atexit
import contextlib
import functools
import os
import sys
import threading
import warnings
from collections.abc import Iterator
from typing import TextIO

_ONE_AT_A_TIME = threading.RLock()
"""The descriptors belong to the process: of two threads in here, the later would restore the sink of the earlier."""


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Sends standard output and standard error of the block to nowhere, native code's included."""
    with _ONE_AT_A_TIME:
        sys.stdout.flush()
        sys.stderr.flush()
        saved = os.dup(1), os.dup(2)
        with _redirected(saved):
            yield


@contextlib.contextmanager
def _redirected(saved: tuple[int, int]) -> Iterator[None]:
    sink = _nowhere()
    with (
        contextlib.redirect_stdout(sink),
        contextlib.redirect_stderr(sink),
        warnings.catch_warnings(),
    ):
        try:
            warnings.simplefilter("ignore")
            os.dup2(sink.fileno(), 1)
            os.dup2(sink.fileno(), 2)
            yield
        finally:
            for kept, descriptor in zip(saved, (1, 2), strict=True):
                os.dup2(kept, descriptor)
                os.close(kept)


@functools.cache
def _nowhere() -> TextIO:
    """Returns a file that swallows what is written; it stays open, since a logger made in a block keeps it."""
    sink = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 (for as long as we run)
    atexit.register(sink.close)
    return sink
