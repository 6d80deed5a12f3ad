"""The folder of a run: where each file stands, and that one run at a time works in it."""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kdistill.errors import ArgumentError, KdistillError
from kdistill.files.made_from import sidecar


class Workdir:
    """Paths of one run; every file appears whole or not at all.

    Attributes:
        path: the folder.
        figures: what the stages that are done have given so far, as `metrics.json` shows it.
    """

    def __init__(self, path: str | Path, *, create: bool = True) -> None:
        """Takes the folder, and with `create` makes it where it is not there.

        Raises:
            KdistillError: the folder cannot be made or written to.
        """
        self.path = Path(path)
        self.figures: dict[str, Any] = {}
        if not create:
            return
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            probe = self.path / ".writable"
            probe.touch()
            probe.unlink()
        except (OSError, ValueError) as error:  # a ValueError for a name with a zero byte
            reason = getattr(error, "strerror", None) or error
            raise KdistillError(f"the work folder {str(path)!r} cannot be written: {reason}") from error

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps other runs out of the folder; the lock goes with the process, however it ends.

        Raises:
            KdistillError: another run is at work there.
        """
        with open(self.path / ".lock", "a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                file.seek(0)
                other = file.read(32).strip()
                raise KdistillError(
                    f"another run{f' (process {other})' if other else ''} is at work in {self.path}; "
                    "wait until it is done, or name another --workdir"
                ) from error
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            yield

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
    def judging(self) -> Path:
        """The teacher's answers that the student is judged by: `ids`, `digests`, `embeddings` float32 [n, Dt]."""
        return self.path / "judging.npz"

    @property
    def space(self) -> Path:
        """The dimensions of the teacher's space that are kept, and the known vectors in them; see `stages.space`."""
        return self.path / "space.npz"

    @property
    def tuned(self) -> Path:
        """The settings that tuning chose, and all that were tried."""
        return self.path / "tuned.json"

    @property
    def assistant(self) -> Path:
        """The assistant, a plain Keras model."""
        return self.path / "assistant.keras"

    @property
    def assistant_answers(self) -> Path:
        """The assistant's answers about the pool: `ids`, `embeddings` float32 [n, Da]; none where it is not used."""
        return self.path / "assistant.npz"

    @property
    def assistant_checkpoints(self) -> Path:
        """The folder of checkpoints of the assistant's training."""
        return self.path / "assistant_checkpoints"

    @property
    def photos(self) -> Path:
        """The folder of decoded photos; it can be deleted at any time between two runs."""
        return self.path / "photos"

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

    @property
    def card(self) -> Path:
        """The model card for people."""
        return self.path / "README.md"

    def caches(self) -> list[Path]:
        """Returns what the stage `ask` keeps beside its answers: the embedded teacher, features of the pool."""
        kept = [self.path / name for name in ("teacher.keras", "features.npz", "assistant_features.npz")]
        return [file for one in kept if one.is_file() for file in (one, sidecar(one))]

    def needs(self, file: Path, stage: str) -> Path:
        """Returns `file`, or says which stage makes it when it is missing."""
        if not file.exists():
            raise ArgumentError(f"{file} is missing; run the stage {stage!r} first (--stages={stage})")
        return file

    def forget(self, stage: str) -> None:
        """Removes what a stage would continue from, so that it starts anew; the ledger always stays.

        Raises:
            KdistillError: the folder cannot be written.
        """
        if stage == "assist":
            shutil.rmtree(self.assistant_checkpoints, ignore_errors=True)
        if stage == "tune":
            shutil.rmtree(self.path / "tuning", ignore_errors=True)
        if stage == "distill":
            shutil.rmtree(self.checkpoints, ignore_errors=True)
            shutil.rmtree(self.logs, ignore_errors=True)
            self.history.unlink(missing_ok=True)
