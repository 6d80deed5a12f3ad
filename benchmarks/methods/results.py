"""The file of finished runs of `benchmarks.methods`: one line a run, on disk before the next one starts."""

import csv
import dataclasses
import io
import math
import os
from collections.abc import Mapping
from pathlib import Path

from benchmarks.methods.plan import Run
from kdistill.errors import KdistillError

_RUN_FIELDS = tuple(field.name for field in dataclasses.fields(Run))
FIELDS = ("setup", *_RUN_FIELDS, "map", "recall_at_1", "seconds")


class Results:
    """Finished runs in a CSV file with the columns FIELDS.

    Lines of another setup (other data, steps or settings) stay in the file and are not counted here.

    Attributes:
        maps: mAP of each finished run of these setups; not a number where training diverged.
    """

    def __init__(self, path: Path, setups: Mapping[str, str]) -> None:
        """Reads the file, or starts it.

        Args:
            path: the file.
            setups: for each method, what marks its lines.

        Raises:
            KdistillError: it cannot be read or written, or is another kind of file.
        """
        self.path, self.setups = path, setups
        self.maps: dict[Run, float] = {}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            content = path.read_bytes() if path.exists() else b""
            whole = content[: content.rfind(b"\n") + 1]
            if whole != content:
                # The line that a killed process left behind.
                os.truncate(path, len(whole))
            if not whole:
                self._append(FIELDS)
                return
        except OSError as error:
            raise KdistillError(f"{path} cannot be used: {error.strerror or error}") from error
        rows = csv.DictReader(io.StringIO(whole.decode("utf-8", "replace")))
        if tuple(rows.fieldnames or ()) != FIELDS:
            raise KdistillError(f"{path} is not a file of this benchmark; its first line should be {','.join(FIELDS)}")
        for row in rows:
            if row["setup"] == setups.get(row["method"]):
                self.maps[_run(row)] = float(row["map"])

    def add(self, run: Run, scores: dict[str, float], seconds: float) -> None:
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
            self._append((self.setups[run.method], *map(str, dataclasses.astuple(run)), *fields, f"{seconds:.1f}"))
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


def _run(row: dict[str, str]) -> Run:
    """Returns the run that a line describes."""
    return Run(
        method=row["method"],
        budget=int(row["budget"]),
        seed=int(row["seed"]),
        judged_on=row["judged_on"],
        learning_rate=float(row["learning_rate"]),
        options=row["options"],
        weight=float(row["weight"]),
    )
