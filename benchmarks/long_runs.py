"""What long benchmarks share: flags, how many runs a process does, and what is written of those that are finished."""

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from kdistill.errors import ArgumentError
from kdistill.files.whole import write_json, write_whole

RESULTS = Path("benchmarks/results")


class Pace:
    """Says before each run whether it may start; after its share of runs the command starts itself anew.

    TensorFlow keeps the graphs of every training (80 MB each for MobileNetV2).
    """

    def __init__(self, max_minutes: float | None, runs_a_process: int = 20) -> None:
        """Starts the clock.

        Args:
            max_minutes: no run starts later than this; None for no limit.
            runs_a_process: after so many the process is replaced by one that goes on.
        """
        self._max_minutes, self._share = max_minutes, runs_a_process
        self._started, self._begun = time.monotonic(), 0

    def goes_on(self) -> bool:
        """Returns False when the time is up; does not return when the process is replaced."""
        seconds = time.monotonic() - self._started
        if self._max_minutes is not None and seconds > 60 * self._max_minutes:
            return False
        if self._begun == self._share:
            sys.stderr.flush()
            os.execv(sys.executable, restart_command(sys.orig_argv, self._max_minutes, seconds))
        self._begun += 1
        return True


def restart_command(command: list[str], max_minutes: float | None, seconds: float) -> list[str]:
    """Returns the command line that goes on after so many seconds, with the rest of the time that it was given."""
    left = [] if max_minutes is None else [f"--max_minutes={max(0.0, max_minutes - seconds / 60):.3f}"]
    return [*command, *left]


def parser_of(description: str | None, workdir: str) -> argparse.ArgumentParser:
    """Returns a parser with the flags that all long benchmarks have."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--max_minutes", type=float, help="start no run later than this")
    parser.add_argument("--workdir", type=Path, default=Path(workdir), help="images and answers are kept here")
    parser.add_argument("--results", type=Path, help=f"folder of the files; {RESULTS}")
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    parser.add_argument("--smoke", action="store_true", help="generated images, a few steps: shows that it runs")
    return parser


def chosen_parts(text: str, known: tuple[str, ...]) -> list[str]:
    """Returns the parts that --parts names.

    Raises:
        ArgumentError: one that is not known.
    """
    parts = text.split(",")
    unknown = next((part for part in parts if part not in known), None)
    if unknown is not None:
        raise ArgumentError(f"there is no part {unknown!r}; choose of {', '.join(known)}")
    return parts


def write_figures(table: Path, text: str, content: dict[str, Any], file: Path | None, *, complete: bool) -> None:
    """Writes the table and, where a file is given, the JSON; prints the table and the figures.

    Args:
        table: where the table goes.
        text: it.
        content: of the JSON, `figures` among it.
        file: of the JSON.
        complete: whether all runs are done; it says so where they are not.
    """
    write_whole(table, text)
    print(text)
    print(json.dumps(content["figures"], indent=2))
    if file is not None:
        write_json(file, content)
    if not complete:
        print("not all runs are done; start the same command again to continue", file=sys.stderr)
