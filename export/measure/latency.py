"""How long one image takes in a file, and what memory: each measurement in a process of its own.

Files are measured in turn, for several rounds: load that comes and goes on the machine then falls on all of them.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kdistill.console.progress import progress_bar
from kdistill.errors import KdistillError

_PACKAGES = Path(__file__).resolve().parents[2]
"""Where `export` lies, so that the measuring process finds it from any folder."""


def measure(
    path: Path | str, pixels: np.ndarray, *, num_threads: int = 2, num_runs: int = 50, warmup_runs: int = 10
) -> dict[str, Any]:
    """Measures one file in a process of its own.

    Args:
        path: .tflite, .onnx or .keras. A retriever is measured by its signature `search`.
        pixels: uint8 [n, H, W, 3], taken in turn, one at a time.
        num_threads: of the runtime.
        num_runs: measured runs.
        warmup_runs: runs before them that do not count.

    Returns:
        `name`, `bytes`, `threads`, `latency_ms_median`, `_p90`, `_p99`, `peak_memory_mib` (of the whole process) and
        `memory_before_mib` (before the model was loaded).

    Raises:
        KdistillError: the file is missing or the runtime refuses it.
    """
    return summarise(Path(path), num_threads, [_measure_once(path, pixels, num_threads, num_runs, warmup_runs)])


def measure_in_turn(
    paths: Sequence[Path | str], pixels: np.ndarray, *, num_threads: int, num_runs: int, warmup_runs: int, rounds: int
) -> list[dict[str, Any]]:
    """Measures several files that take the same pixels, each once a round; see `measure` for what comes back."""
    results: dict[Path, list[dict[str, Any]]] = {Path(path): [] for path in paths}
    turns = [path for _ in range(rounds) for path in results]
    for path in progress_bar(turns, total=len(turns), description="measuring", unit="file"):
        results[path].append(_measure_once(path, pixels, num_threads, num_runs, warmup_runs))
    return [summarise(path, num_threads, measured) for path, measured in results.items()]


def summarise(path: Path, num_threads: int, measured: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Returns the figures of one file from the raw results of its rounds."""
    times = np.concatenate([result["ms"] for result in measured])
    median, p90, p99 = np.percentile(times, [50, 90, 99])
    return {
        "name": path.name,
        "bytes": path.stat().st_size,
        "threads": num_threads,
        "latency_ms_median": float(median),
        "latency_ms_p90": float(p90),
        "latency_ms_p99": float(p99),
        "peak_memory_mib": max(float(result["peak_memory_mib"]) for result in measured),
        "memory_before_mib": max(float(result["memory_before_mib"]) for result in measured),
    }


def markdown_table(rows: Sequence[dict[str, Any]]) -> str:
    """Returns the rows as a markdown table; a quality that was not measured is a dash.

    The mAP of files, and of the student beside them, is that of the images that files are checked on.
    """
    lines = ["| file | median ms | p90 ms | p99 ms | MiB | peak MiB | mAP, sample |", "|---|---|---|---|---|---|---|"]
    for row in rows:
        quality = "–" if row.get("map") is None else f"{100 * row['map']:.2f}"
        lines.append(
            f"| {row['name']} | {row['latency_ms_median']:.2f} | {row['latency_ms_p90']:.2f} "
            f"| {row['latency_ms_p99']:.2f} | {row['bytes'] / 2**20:.2f} | {row['peak_memory_mib']:.0f} | {quality} |"
        )
    return "\n".join(lines)


def _measure_once(
    path: Path | str, pixels: np.ndarray, num_threads: int, num_runs: int, warmup_runs: int
) -> dict[str, Any]:
    if not Path(path).is_file():
        raise KdistillError(f"{path} does not exist")
    with tempfile.TemporaryDirectory() as folder:
        images = Path(folder) / "pixels.npy"
        np.save(images, pixels)
        numbers = [str(number) for number in (num_threads, warmup_runs, num_runs)]
        worker = subprocess.run(
            [sys.executable, "-m", "export.measure.worker", str(Path(path).resolve()), str(images), *numbers],
            capture_output=True,
            text=True,
            cwd=_PACKAGES,
            check=False,
        )
    if worker.returncode:
        reason = worker.stderr.strip().splitlines()[-1:] or ["no message"]
        raise KdistillError(f"{path} cannot be measured: {reason[0]}")
    return json.loads(worker.stdout.splitlines()[-1])
