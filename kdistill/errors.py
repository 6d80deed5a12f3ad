"""The one exception that users are meant to see, and how a command ends: its exit status and its one sentence."""

import os
import select
import signal
import sys
import threading
from collections.abc import Callable
from typing import NoReturn

from kdistill.console.frameworks import prepare_frameworks

MAX_SENTENCE = 2000
"""Characters of an error that are shown: a file's name or a library's message can have any length."""
READER_GONE = 128 + 13
"""Exit status of a command whose output nobody reads any more (SIGPIPE)."""


class KdistillError(Exception):
    """A mistake or fault that one sentence explains: what was given, what was expected, which file.

    The command line prints the sentence and exits with `exit_status`; a traceback appears only with
    `--verbosity=1`.
    """

    exit_status = 1

    def __init__(self, message: object = "") -> None:
        """Takes the sentence; names and reasons in it may come from hostile files, so it is made `one_line`."""
        super().__init__(one_line(message))


class ArgumentError(KdistillError):
    """An argument that cannot be right, whatever the data says (exit status 2)."""

    exit_status = 2


class NotBetter(KdistillError):
    """A run whose student is not better than the same network before distillation (exit status 3)."""

    exit_status = 3


def run_command(main: Callable[[], object], *, tracebacks: bool = False) -> None:
    """Runs a command line's `main`; whatever ends it early becomes one sentence on standard error and an exit status.

    1 for a fault, 2 for wrong arguments, 130 for Ctrl-C and for SIGTERM, which is treated as Ctrl-C: work in hand is
    settled on the way out (a question in flight becomes known as lost), and what was saved before stays. 141, without a
    sentence, when the reader of the output went away (`| head -1`), as shells count it. What a terminal cannot show is
    written as an escape: names of files may hold anything.

    Args:
        main: the command; what it returns is its exit status when it is an integer other than 0.
        tracebacks: let the exception through, for debugging.
    """
    _prepare_streams()
    prepare_frameworks()
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        try:
            status = main()
        finally:
            # Here and not at the interpreter's end, where a reader that went away makes Python complain.
            sys.stdout.flush()
    except KeyboardInterrupt:
        _end("interrupted; start the same command again to continue", 130)
    except (KdistillError, OSError, MemoryError) as error:
        if isinstance(error, BrokenPipeError) and _reader_is_gone():
            sys.exit(READER_GONE)
        if tracebacks:
            raise
        if isinstance(error, KdistillError):
            _end(f"error: {error}", error.exit_status)
        if isinstance(error, MemoryError):
            _end(f"error: there is not enough memory ({error or 'no more can be had'})", 1)
        # A full disk or a folder that went away can strike any library that writes.
        where = f" ({error.filename})" if error.filename else ""
        _end(f"error: {error.strerror or error}{where}", 1)
    if isinstance(status, int) and status:
        sys.exit(status)


def _prepare_streams() -> None:
    """Makes both output streams take any text: some are closed, some know ASCII only, none takes half a surrogate."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 (for as long as we run)
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _reader_is_gone() -> bool:
    """Says whether nobody reads standard output; it is then turned to where the interpreter's end can flush it."""
    try:
        output = sys.stdout.fileno()
    except (OSError, ValueError):  # a stream in memory
        return False
    poll = select.poll()
    poll.register(output, 0)
    if not poll.poll(0):
        return False
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, output)
    os.close(nowhere)
    return True


def one_line(text: object) -> str:
    """Returns a text of at most MAX_SENTENCE characters without line breaks or control characters (escaped)."""
    joined = " ".join(str(text)[: 2 * MAX_SENTENCE].split())
    shown = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in joined)
    return shown if len(shown) <= MAX_SENTENCE else shown[:MAX_SENTENCE] + "..."


def first_line(error: BaseException) -> str:
    """Returns the first line of what an error says, or the name of its class where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip() if lines else type(error).__name__


def _end(sentence: str, status: int) -> NoReturn:
    print(one_line(sentence), file=sys.stderr)
    sys.exit(status)
