"""The folder of a run: where each file stands, which stages are done, and with which settings."""

import dataclasses
import datetime
import json
import shutil
from pathlib import Path
from typing import Any

from kdistill.errors import ArgumentError, KdistillError
from kdistill.files.whole import write_json, write_whole
from kdistill.settings.settings import STAGE_SETTINGS, Settings
from kdistill.teachers.ledger.locations import without_secrets


class Workdir:
    """Paths and bookkeeping of one run; every file appears whole or not at all."""

    def __init__(self, path: str | Path) -> None:
        """Creates the folder if needed.

        Raises:
            KdistillError: the folder cannot be made or written to.
        """
        self.path = Path(path)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            probe = self.path / ".writable"
            probe.touch()
            probe.unlink()
        except (OSError, ValueError) as error:  # a ValueError for a name with a zero byte
            reason = getattr(error, "strerror", None) or error
            raise KdistillError(f"the work folder {str(path)!r} cannot be written: {reason}") from error

    @property
    def flags(self) -> Path:
        """The flagfile that reproduces the run."""
        return self.path / "flags.txt"

    @property
    def ledger(self) -> Path:
        """The record of all questions and answers (SQLite)."""
        return self.path / "ledger.sqlite"

    @property
    def answers(self) -> Path:
        """The teacher's answers that the student learns from: `ids`, `embeddings` float32 [n, Dt]."""
        return self.path / "answers.npz"

    @property
    def checkpoints(self) -> Path:
        """The folder of training checkpoints."""
        return self.path / "checkpoints"

    @property
    def logs(self) -> Path:
        """The folder of TensorBoard logs."""
        return self.path / "logs"

    @property
    def history(self) -> Path:
        """One line of JSON for each evaluation inside training."""
        return self.path / "history.jsonl"

    @property
    def student(self) -> Path:
        """The distilled student, a plain Keras model."""
        return self.path / "student.keras"

    @property
    def gallery(self) -> Path:
        """The student's embeddings of the gallery: `ids`, `embeddings` float32 [G, Ds]."""
        return self.path / "gallery.npz"

    @property
    def neighbours(self) -> Path:
        """Nearest neighbours of a dozen queries, for the report."""
        return self.path / "neighbours.json"

    @property
    def metrics(self) -> Path:
        """All figures of the run."""
        return self.path / "metrics.json"

    @property
    def report(self) -> Path:
        """The HTML page."""
        return self.path / "report.html"

    def needs(self, file: Path, stage: str) -> Path:
        """Returns `file`, or says which stage makes it when it is missing."""
        if not file.exists():
            raise ArgumentError(f"{file} is missing; run the stage {stage!r} first (--stages={stage})")
        return file

    def read_metrics(self) -> dict[str, Any]:
        """Returns the content of metrics.json, or an empty object."""
        return _read_json(self.metrics)

    def update_metrics(self, **values: Any) -> None:
        """Sets top-level entries of metrics.json and keeps the others."""
        write_json(self.metrics, self.read_metrics() | values)

    def write_flags(self, settings: Settings) -> None:
        """Writes the flagfile that reproduces the run; a ledger's address stands there without its password."""
        lines = ["# python main.py --flagfile=flags.txt runs this again."]
        for field in dataclasses.fields(settings):
            value = getattr(settings, field.name)
            if field.name == "ledger" and value is not None:
                value = without_secrets(value)
            text = ",".join(map(str, value)) if isinstance(value, tuple) else "" if value is None else str(value)
            lines.append(f"--{field.name}={text}")
        write_whole(self.flags, "\n".join(lines) + "\n")

    def forget(self, stage: str) -> None:
        """Removes what a stage would continue from, so that it starts anew; the ledger always stays.

        Raises:
            KdistillError: the folder cannot be written.
        """
        if stage == "distill":
            shutil.rmtree(self.checkpoints, ignore_errors=True)
            shutil.rmtree(self.logs, ignore_errors=True)
            self.history.unlink(missing_ok=True)

    def is_done(self, stage: str, settings: Settings) -> bool:
        """Says whether a stage was finished with these settings.

        Raises:
            ArgumentError: it was finished with others; the message names the first that differs.
        """
        record = _read_stages(self.path).get(stage)
        if record is None:
            return False
        for name in STAGE_SETTINGS[stage]:
            # A setting that an older version did not have was at its default then.
            default = getattr(Settings(), name)
            now, then = _plain(getattr(settings, name)), record["settings"].get(name, _plain(default))
            if now != then:
                raise ArgumentError(
                    f"the stage {stage!r} of {self.path} was run with --{name}={then}, not {now}; "
                    "name another --workdir, or run it again with --redo (answers already paid for are kept)"
                )
        made = {"ask": self.answers, "distill": self.student, "evaluate": self.gallery, "report": self.report}
        # A file that was deleted since is made again.
        return stage not in made or made[stage].exists()

    def mark_done(self, stage: str, settings: Settings) -> None:
        """Records that a stage is finished; stages that build on it must be run again."""
        file = self.path / "stages.json"
        order = list(STAGE_SETTINGS)
        earlier = order[: order.index(stage)]
        done = {name: record for name, record in _read_stages(self.path).items() if name in earlier}
        done[stage] = {
            "settings": {name: _plain(getattr(settings, name)) for name in STAGE_SETTINGS[stage]},
            "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        }
        write_json(file, done)


def settings_of(workdir: str | Path) -> dict[str, Any]:
    """Returns the settings that the stages of a finished run were made with (later stages win)."""
    merged: dict[str, Any] = {}
    for record in _read_stages(Path(workdir)).values():
        merged |= record["settings"]
    names = {field.name for field in dataclasses.fields(Settings)}
    return {name: value for name, value in merged.items() if name in names}


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _read_stages(workdir: Path) -> dict[str, dict[str, Any]]:
    file = workdir / "stages.json"
    stages = _read_json(file)
    for record in stages.values():
        if not isinstance(record, dict) or not isinstance(record.get("settings"), dict):
            raise KdistillError(f"{file} is not a record of stages; restore it or delete it")
    return stages


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text()))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise KdistillError(f"{path} cannot be read ({error}); restore it or delete it") from error
