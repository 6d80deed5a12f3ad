"""A file of finished runs: one line a run, on disk before the next one starts."""

import csv
import dataclasses
import io
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar, get_type_hints

from kdistill.errors import KdistillError

RunT = TypeVar("RunT")


class Results(Generic[RunT]):
    """Finished runs in a CSV file: their setup, the fields of a run, and what came of it.

    Lines of another setup (other data, steps or settings) stay in the file and are not counted here.

    Attributes:
        maps: mAP of each finished run of these setups; not a number where training diverged.
    """

    def __init__(self, path: Path, kind: type[RunT], setup_of: Callable[[RunT], str]) -> None:
        """Reads the file, or starts it.

        Args:
            path: the file.
            kind: the dataclass of a run; its fields are str, int and float.
            setup_of: a run -> what marks its line.

        Raises:
            KdistillError: it cannot be read or written, or is another kind of file.
        """
        self.path, self.setup_of = path, setup_of
        self.maps: dict[RunT, float] = {}
        types = get_type_hints(kind)
        columns = ("setup", *types, "map", "recall_at_1", "seconds")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            content = path.read_bytes() if path.exists() else b""
            whole = content[: content.rfind(b"\n") + 1]
            if whole != content:
                # The line that a killed process left behind.
                os.truncate(path, len(whole))
            if not whole:
                self._append(columns)
                return
        except OSError as error:
            raise KdistillError(f"{path} cannot be used: {error.strerror or error}") from error
        rows = csv.DictReader(io.StringIO(whole.decode("utf-8", "replace")))
        if tuple(rows.fieldnames or ()) != columns:
            raise KdistillError(f"{path} is not a file of this benchmark; its first line should be {','.join(columns)}")
        for row in rows:
            run = kind(**{name: convert(row[name]) for name, convert in types.items()})
            if row["setup"] == setup_of(run):
                self.maps[run] = float(row["map"])

    def add(self, run: RunT, scores: dict[str, float], seconds: float) -> None:
        """Appends a finished run; when this returns, it is on the disk.

        Args:
            run: what was run.
            scores: with `map` and `recall_at_1`.
            seconds: that it took.

        Raises:
            KdistillError: the disk is full or the file went away.
        """
        values = (scores["map"], scores["recall_at_1"])
        fields = [f"{value:.6f}" if math.isfinite(value) else "nan" for value in values]
        try:
            self._append(
                (
                    self.setup_of(run),
                    *(str(getattr(run, field.name)) for field in _fields(type(run))),
                    *fields,
                    f"{seconds:.1f}",
                )
            )
        except OSError as error:
            raise KdistillError(f"{self.path} cannot be written: {error.strerror or error}") from error
        self.maps[run] = float(fields[0])

    def _append(self, fields: tuple[str, ...]) -> None:
        line = io.StringIO()
        csv.writer(line, lineterminator="\n").writerow(fields)
        # One write, so that two processes that share the file do not mix their lines.
        file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(file, line.getvalue().encode())
            os.fsync(file)
        finally:
            os.close(file)


def _fields(kind: Any) -> tuple["dataclasses.Field[Any]", ...]:
    return dataclasses.fields(kind)
