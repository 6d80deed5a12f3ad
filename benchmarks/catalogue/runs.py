"""Whole runs on catalogues of several sizes, each stage in a process of its own whose time and memory are kept."""

import dataclasses
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.catalogue.data import Catalogue
from kdistill.errors import KdistillError
from kdistill.files.whole import read_json_object, write_json

STAGES = ("ask", "assist", "distill", "evaluate", "export", "report")
_DONE = re.compile(r"\] (\w+): done in ([\d.]+) s")
_FIRST_STEP = re.compile(r"the first step was done after ([\d.]+) s")
_ERROR_BYTES = 2000


@dataclasses.dataclass(frozen=True)
class Plan:
    """How the catalogues are run.

    Attributes:
        flags: of every run, beside those of its data.
        together: all stages in one process, for a quick look.
    """

    flags: tuple[str, ...]
    together: bool = False


def run_catalogue(catalogue: Catalogue, plan: Plan, folder: Path) -> dict[str, Any]:
    """Runs what is not done yet; returns for each stage `seconds`, `cpu_seconds`, `peak_gib`, and more of some.

    Under `plan.together` processor time and memory are those of all stages, at the last one. A stage that was
    interrupted goes on; its times are then those of the last process.

    Args:
        catalogue: the data.
        plan: how.
        folder: of the runs; `run-N` is the work folder, `run-N.json` what was measured.

    Raises:
        KdistillError: a stage failed; its last words are in the message.
    """
    workdir = folder / f"run-{catalogue.photos}"
    file = folder / f"run-{catalogue.photos}.json"
    measured = read_json_object(file)
    groups: Sequence[tuple[str, ...]] = [STAGES] if plan.together else [(stage,) for stage in STAGES]
    for group in groups:
        if any(stage not in measured for stage in group):
            measured |= _run(group, catalogue, plan, workdir)
            write_json(file, measured)
    return measured


def _run(stages: Sequence[str], catalogue: Catalogue, plan: Plan, workdir: Path) -> dict[str, Any]:
    flags = [
        f"--workdir={workdir}",
        "--dataset=lists",
        f"--data_dir={catalogue.folder}",
        f"--pool_file={catalogue.pool_file}",
        f"--gallery_file={catalogue.gallery_file}",
        f"--teacher={catalogue.teacher}",
        f"--query_budget={catalogue.answers}",
        f"--stages={','.join(stages)}",
        "--export_if_not_better",
        *plan.flags,
    ]
    log = workdir.with_name(f"{workdir.name}-{stages[-1]}.log")
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "wb") as output:
        began = time.perf_counter()
        process = subprocess.Popen([sys.executable, "-m", "main", *flags], stdout=output, stderr=output)
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.terminate()
            process.wait()
            raise
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - began
    text = log.read_text(encoding="utf-8", errors="replace")
    if process.returncode:
        raise KdistillError(f"the stage {stages[-1]} of {workdir.name} failed: {text[-_ERROR_BYTES:]}")
    found: dict[str, Any] = {name: {"seconds": float(took)} for name, took in _DONE.findall(text)}
    found = {name: found.get(name, {"seconds": 0.0}) for name in stages}  # what is done already takes no time
    found[stages[-1]] |= {
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "peak_gib": usage.ru_maxrss / 2**20,
        "process_seconds": seconds,
    }
    first = _FIRST_STEP.search(text)
    if first is not None:
        photos = workdir / "photos"
        kept = sum(part.stat().st_size for part in photos.iterdir()) if photos.is_dir() else 0
        found["distill"] |= {"first_step_s": float(first[1]), "photos_gb": kept / 1e9}
    return found
