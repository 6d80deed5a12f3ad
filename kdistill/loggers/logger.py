"""What loggers of all trackers do alike: one run of the tracker for each work folder, through interruptions."""

import urllib.parse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from kdistill.files.whole import read_json_object, write_json
from kdistill.report.tables import number
from kdistill.settings import Settings
from kdistill.settings.effects import teacher_kind
from kdistill.settings.flagfile import flag_lines
from kdistill.stages.callbacks import RunContext
from kdistill.training.callbacks.steps import StepCallback

_FILES = ("metrics.json", "history.jsonl", "card.json", "README.md", "student.keras")
_WITH_FLAGS = ("flags.txt", "report.html")
"""Files that hold the settings as they are: not sent where the teacher's address may hold a key."""


class Tracked(Protocol):
    """A run of a tracker that is open.

    `table` is given metric -> value, named `student/map`, and the rows themselves.
    """

    def curves(self, values: Mapping[str, float], step: int) -> None: ...

    def table(self, values: Mapping[str, float], rows: list[dict[str, Any]]) -> None: ...

    def files(self, paths: list[Path]) -> None: ...

    def close(self) -> None: ...


Open = Callable[[RunContext], Tracked]
"""Opens the tracker's run of a work folder, a new one where it has none."""


class Curves(StepCallback):
    """Logs each epoch at its step, named `STAGE/KEY` (`distill/val_map`); nothing in workers beside the chief."""

    def __init__(self, context: RunContext, opened: Open) -> None:
        """Takes the context and what opens the run."""
        super().__init__()
        self.context, self._open = context, opened
        self._run: Tracked | None = None

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Opens the run."""
        self._run = self._open(self.context) if self.context.chief else None

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Logs what is a finite number."""
        if self._run is not None:
            prefix = "/".join(filter(None, (self.context.stage, self.context.part)))
            known = {key: number(float(value)) for key, value in (logs or {}).items()}
            self._run.curves({f"{prefix}/{key}": value for key, value in known.items() if value is not None}, self.done)

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        """Closes the run; the next training, or the end of the command, opens it again."""
        if self._run is not None:
            self._run.close()
            self._run = None


def log_end(context: RunContext, opened: Open) -> None:
    """Logs the table of models and of files, and the files of the work folder; for the end of a command."""
    rows = [{"kind": kind, **row} for kind in ("rows", "files") for row in context.figures.get(kind, [])]
    values = {f"{row['name']}/{key}": value for row in rows for key in row if (value := number(row[key])) is not None}
    names = [*_FILES, *(() if _may_hold_a_key(context.settings) else _WITH_FLAGS)]
    names += [*(str(row["name"]) for row in context.figures.get("files", []) if row.get("passed"))]
    paths = [context.workdir / name for name in dict.fromkeys(names)]
    run = opened(context)
    try:
        run.table(values, rows)
        run.files([path for path in paths if path.is_file()])
    finally:
        run.close()


def shown_settings(settings: Settings) -> dict[str, str]:
    """Returns the settings that have an effect, as a flagfile writes them; an address without what may be a key."""
    lines = (line.removeprefix("--").partition("=") for line in flag_lines(settings))
    shown = {name: value for name, _, value in lines}
    if _may_hold_a_key(settings):
        parts = urllib.parse.urlsplit(settings.teacher.teacher)
        shown["teacher"] = f"{parts.scheme}://{parts.hostname}{parts.path}"
    return shown


def _may_hold_a_key(settings: Settings) -> bool:
    if teacher_kind(settings.teacher.teacher) != "service":
        return False
    parts = urllib.parse.urlsplit(settings.teacher.teacher)
    return bool(parts.query or parts.username or parts.password)


def known_id(context: RunContext, tracker: str) -> str | None:
    """Returns the tracker's name of the work folder's run, or None before there is one."""
    return read_json_object(_ids(context)).get(tracker)


def remember_id(context: RunContext, tracker: str, run_id: str) -> None:
    """Keeps the tracker's name of the work folder's run."""
    write_json(_ids(context), {**read_json_object(_ids(context)), tracker: run_id})


def _ids(context: RunContext) -> Path:
    return context.workdir / "trackers.json"
