"""A record of the training: one JSON line for each epoch."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kdistill.files import made_from
from kdistill.files.whole import write_whole
from kdistill.training.callbacks.steps import StepCallback


class HistoryFile(StepCallback):
    """Appends one JSON line an epoch (`step`, the logs) to a file; a training that continues continues it.

    When training begins, lines of steps beyond those that are done go, and all lines where the file was written by a
    training of another identity (kept beside it, `NAME.made.json`).
    """

    def __init__(
        self,
        path: str | Path,
        first_step: int = 0,
        extra: Mapping[str, Any] | None = None,
        identity: Mapping[str, Any] | None = None,
    ) -> None:
        """Prepares the record.

        Args:
            path: the file.
            first_step: steps that were done before; `train` sets it by itself.
            extra: constants to add to each line (queries spent).
            identity: what the training is made from; None takes any file for one of the same training.
        """
        super().__init__(first_step)
        self.path, self.extra, self.identity = Path(path), dict(extra or {}), identity

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Takes out the lines that do not belong to this training."""
        lines = read_history(self.path)
        if self.identity is not None and made_from.matches(self.path, self.identity) is not None:
            lines = []
        kept = [line for line in lines if line["step"] <= self.done]
        if self.path.exists() and len(kept) < len(read_history(self.path)):
            self._write(kept)
        if self.identity is not None:
            made_from.write(self.path, self.identity)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Writes the line."""
        kept = [line for line in read_history(self.path) if line["step"] < self.done]
        values = {name: float(value) for name, value in (logs or {}).items()}
        self._write([*kept, {"step": self.done, **self.extra, **values}])

    def _write(self, lines: list[dict[str, Any]]) -> None:
        write_whole(self.path, "".join(json.dumps(line) + "\n" for line in lines))


def read_history(path: str | Path) -> list[dict[str, Any]]:
    """Returns the lines that HistoryFile wrote, oldest first."""
    file = Path(path)
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
