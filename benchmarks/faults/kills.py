"""Runs the main job and kills it at random moments, until it is done."""

import contextlib
import dataclasses
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kdistill.errors import KdistillError
from kdistill.files.whole import write_whole
from kdistill.stages.entries import read_entries
from kdistill.teachers import Ledger

_POLL_SECONDS = 0.01
_SAVING = {"ask": "ledger.sqlite-wal", "distill": "checkpoints/checkpoint"}


@dataclasses.dataclass(frozen=True)
class LedgerReading:
    """What a ledger says at one moment.

    Attributes:
        answers: content hash -> sha256 of the answer's bytes.
        spent: questions that count.
        twice: questions that count more than once.
        in_flight: questions that a killed process left in flight.
    """

    answers: dict[str, str]
    spent: int
    twice: int
    in_flight: int


def read_ledger(workdir: Path) -> LedgerReading:
    """Reads the ledger of a run, which may not exist yet."""
    path = workdir / "ledger.sqlite"
    if not path.exists():
        return LedgerReading({}, 0, 0, 0)
    with Ledger(path, create=False) as ledger:
        rows, summary = list(ledger.rows()), ledger.summary()
    return LedgerReading(
        {row.content: hashlib.sha256(row.embedding).hexdigest() for row in rows if row.state == "answered"},
        summary.spent,
        sum(row.asked > 1 for row in rows),
        sum(row.state == "in flight" for row in rows),
    )


class Run:
    """One run of the main job in a folder of its own, and a record of it that survives this process."""

    def __init__(self, folder: Path, name: str, flags: list[str]) -> None:
        """Continues the run `name` below `folder`, or prepares it."""
        self.workdir = folder / name
        self._file, self.log = folder / f"{name}.json", folder / f"{name}.log"
        self._command = [sys.executable, "-m", "main", *flags, f"--workdir={self.workdir}", "--export_if_not_better"]
        self.record: dict[str, Any] = json.loads(self._file.read_text()) if self._file.exists() else {}

    def save(self) -> None:
        """Writes the record."""
        write_whole(self._file, json.dumps(self.record, indent=1) + "\n")

    def start(self) -> subprocess.Popen[bytes]:
        """Starts the job, or starts it again, in a process group of its own."""
        with open(self.log, "ab") as log:
            return subprocess.Popen(self._command, stdout=log, stderr=log, start_new_session=True)

    def done(self) -> list[str]:
        """Returns the phases that are done: training the embedded teacher, then the stages."""
        return (["teacher"] if (self.workdir / "teacher.keras").exists() else []) + list(read_entries(self.workdir))


def run_undisturbed(run: Run) -> dict[str, float]:
    """Runs to the end without a kill and returns the seconds of each phase, in order, start-up in the first.

    Raises:
        KdistillError: the job fails.
    """
    if "phases" not in run.record:
        since, phases = time.monotonic(), dict.fromkeys(run.done(), 0.0)
        process = run.start()
        try:
            while True:
                status, now = process.poll(), time.monotonic()
                for phase in run.done():
                    if phase not in phases:
                        phases[phase], since = now - since, now
                if status is not None:
                    break
                time.sleep(_POLL_SECONDS)
        finally:
            _end(process)
        if status:
            raise KdistillError(f"the job ends with status {status} by itself, see {run.log}")
        run.record["phases"] = phases
        run.save()
    return dict(run.record["phases"])


class Killer:
    """Kills a run at random moments and looks at its ledger after each."""

    def __init__(
        self, run: Run, phases: Mapping[str, float], kills: int, *, start_up: float, seed: int, longest_life: float
    ) -> None:
        """Spreads the kills over the phases.

        Args:
            run: what to kill.
            phases: name -> seconds that it takes undisturbed.
            kills: number of kills.
            start_up: seconds from a start to the first work.
            seed: of the moments.
            longest_life: seconds that a life to be killed may last.
        """
        self.run, self._phases, self._start_up, self._longest_life = run, dict(phases), start_up, longest_life
        edges = [kills * index // len(phases) for index in range(len(phases) + 1)]
        self.state: dict[str, Any] = run.record or {
            "kills": dict.fromkeys(phases, 0),
            "open": {phase: edges[index + 1] - edges[index] for index, phase in enumerate(phases)},
            "starts": 0,
            "seconds": 0.0,
            "answers": {},
            "changed": 0,
            "violations": 0,
            "in_flight": 0,
        }
        run.record = self.state
        self._random = random.Random(f"{seed} {run.workdir.name} {self.state['starts']}")

    def kill_until_done(self) -> None:
        """Starts the job again and again until all phases are done.

        Raises:
            KdistillError: the job fails by itself.
        """
        while self._phase() is not None:
            begun = time.monotonic()
            self.state["starts"] += 1
            process = self.run.start()
            try:
                status = self._live(process)
            finally:
                _end(process)
            self.state["seconds"] += time.monotonic() - begun
            self._look()
            if status:
                raise KdistillError(f"the job ends with status {status} by itself, see {self.run.log}")
            if process.returncode == 0 and (left := self._phase()) is not None:
                raise KdistillError(f"the job ends by itself without the phase {left!r}, see {self.run.log}")

    def lost(self, reference: Mapping[str, str]) -> int:
        """Returns how many answers went missing or changed on the way, or differ from those of `reference`."""
        final = self.state["answers"]
        return int(self.state["changed"]) + sum(final.get(content) != answer for content, answer in reference.items())

    def _phase(self) -> str | None:
        done = self.run.done()
        return next((phase for phase in self._phases if phase not in done), None)

    def _live(self, process: subprocess.Popen[bytes]) -> int:
        """Waits until the job is to be killed, or ends by itself; returns its exit status, 0 before a kill."""
        planned, deadline, window = "", float("inf"), 0.0
        marks: tuple[int, int] | None = None
        while process.poll() is None:
            now, phase = time.monotonic(), self._phase()
            if phase is not None and phase != planned:
                start_up = 0.0 if planned else self._start_up
                planned, deadline, marks = phase, float("inf"), None
                left = self.state["open"][phase]
                if left > 0:
                    life = min(self._longest_life, self._phases[phase] + start_up)
                    deadline = now + self._random.uniform(0, life)
                    if phase in _SAVING and self._random.random() < 0.75:
                        # Work that is saved is not done again: what is left of it is spread over the kills.
                        deadline, marks = now + 2 * self._longest_life, self._marks(phase)
                        window = 2 * self._phases[phase] / left
            if marks is not None and self._marks(planned) != marks:
                deadline, marks = now + self._random.uniform(0, window), None
            if now >= deadline and phase is not None:
                self.state["kills"][phase] += 1
                self.state["open"][phase] -= 1
                return 0
            time.sleep(_POLL_SECONDS)
        return int(process.returncode)

    def _marks(self, phase: str) -> tuple[int, int]:
        """Returns what changes with each piece of work that is saved."""
        try:
            found = (self.run.workdir / _SAVING[phase]).stat()
        except OSError:
            return 0, 0
        return found.st_mtime_ns, found.st_size

    def _look(self) -> None:
        reading = read_ledger(self.run.workdir)
        before = self.state["answers"]
        self.state["changed"] += sum(reading.answers.get(content) != answer for content, answer in before.items())
        self.state["violations"] += (reading.spent > self._budget()) + reading.twice
        self.state["in_flight"] += reading.in_flight
        self.state["answers"] = reading.answers
        self.run.save()

    def _budget(self) -> int:
        file = self.run.workdir / "flags.txt"
        lines = file.read_text().splitlines() if file.exists() else []
        # Before the flags are written, nothing may be spent.
        return next((int(line.partition("=")[2]) for line in lines if line.startswith("--query_budget=")), 0)


def start_up_seconds() -> float:
    """Returns how long a process takes until it has imported what a stage needs."""
    begun = time.monotonic()
    subprocess.run([sys.executable, "-c", "import kdistill.stages.judging.evaluate"], check=True, capture_output=True)
    return time.monotonic() - begun


def _end(process: subprocess.Popen[bytes]) -> None:
    # The whole group: the job has processes of its own, which may outlive it.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
