"""The one exception that users are meant to see."""

import sys
from collections.abc import Callable


class KdistillError(Exception):
    """A mistake or fault that one sentence explains: what was given, what was expected, which file.

    The command line prints the sentence and exits with `exit_status`; a traceback appears only with
    `--verbosity=1`.
    """

    exit_status = 1


class ArgumentError(KdistillError):
    """An argument that cannot be right, whatever the data says (exit status 2)."""

    exit_status = 2


def run_command(main: Callable[[], None]) -> None:
    """Runs a command line's `main`; a KdistillError ends it with its sentence and exit status."""
    try:
        main()
    except KdistillError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_status)
