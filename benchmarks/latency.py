"""How long one image takes in each file of a run, with the quality of that same file beside it.

    python -m benchmarks.latency --run=runs/quickstart --json=latency.json

Each file is measured in processes of its own, in turn, for several rounds: load that comes and goes on the machine
then falls on all of them. The figures are times of this machine; compare them within one run only.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from export.runtime import open_tflite
from kdistill.errors import ArgumentError, KdistillError, run_command
from kdistill.files import sha256_of, write_json
from kdistill.progress import progress_bar

REPOSITORY = Path(__file__).resolve().parents[1]
_MARKERS = {".tflite": "o", ".onnx": "s", ".keras": "D"}


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
    """Returns the rows as a markdown table; a quality that was not measured is a dash."""
    lines = ["| file | median ms | p90 ms | p99 ms | MiB | peak MiB | mAP |", "|---|---|---|---|---|---|---|"]
    for row in rows:
        quality = "–" if row.get("map") is None else f"{100 * row['map']:.2f}"
        lines.append(
            f"| {row['name']} | {row['latency_ms_median']:.2f} | {row['latency_ms_p90']:.2f} "
            f"| {row['latency_ms_p99']:.2f} | {row['bytes'] / 2**20:.2f} | {row['peak_memory_mib']:.0f} | {quality} |"
        )
    return "\n".join(lines)


def draw(rows: Sequence[dict[str, Any]], path: Path | str) -> None:
    """Draws mAP against median latency, a point a file, its area by its size on disk, its shape by its format."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot, ticker

    measured = sorted((row for row in rows if row.get("map") is not None), key=lambda row: row["latency_ms_median"])
    figure, axes = pyplot.subplots(figsize=(8.5, 4.5), layout="constrained")
    for row in measured:
        axes.scatter(
            row["latency_ms_median"],
            100 * row["map"],
            s=40 + 40 * row["bytes"] / 2**20,
            alpha=0.7,
            marker=_MARKERS[Path(row["name"]).suffix],
            label=f"{row['name']}, {row['bytes'] / 2**20:.1f} MiB",
        )
    axes.set(xscale="log", xlabel="median latency of one image, ms", ylabel="mAP of the same file, %")
    axes.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
    axes.xaxis.set_major_formatter(ticker.StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_locator(ticker.NullLocator())
    axes.grid(alpha=0.3)
    # Files of one kind lie on top of each other: names beside the points would be unreadable.
    figure.legend(loc="outside right upper", title="fastest first", frameon=False, fontsize="small")
    figure.savefig(path, dpi=130)
    pyplot.close(figure)


def qualities(run: Path) -> dict[str, float]:
    """Returns mAP by sha256, from the run's card: a file that changed since it was verified has none."""
    try:
        card = json.loads((run / "card.json").read_text(encoding="utf-8"))
        return {entry["sha256"]: entry["map"] for entry in card["files"]}
    except (OSError, ValueError, KeyError) as error:
        raise KdistillError(f"{run / 'card.json'} cannot be read; run the export stage first ({error})") from error


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
            [sys.executable, "-m", "benchmarks.latency_worker", str(Path(path).resolve()), str(images), *numbers],
            capture_output=True,
            text=True,
            cwd=REPOSITORY,
            check=False,
        )
    if worker.returncode:
        reason = worker.stderr.strip().splitlines()[-1:] or ["no message"]
        raise KdistillError(f"{path} cannot be measured: {reason[0]}")
    return json.loads(worker.stdout.splitlines()[-1])


def _image_size(path: Path) -> tuple[int, int]:
    if path.suffix != ".tflite":
        raise ArgumentError(f"the input size of {path.name} is not known; --teacher takes a .tflite file")
    shape = open_tflite(path).get_input_details()[0]["shape"]
    return int(shape[1]), int(shape[2])


def _arguments() -> argparse.Namespace:
    # num_threads, num_runs and warmup_runs are named as in LiteRT's own benchmark tool.
    parser = argparse.ArgumentParser(description="Latency, size and quality of the files of a run.")
    parser.add_argument("--run", type=Path, required=True, help="work folder of a run whose export stage is done")
    parser.add_argument("--teacher", type=Path, help="a .tflite file to measure beside them")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--picture", type=Path, help="where to draw quality against latency (.png, .svg)")
    parser.add_argument("--num_threads", type=int, default=2)
    parser.add_argument("--num_runs", type=int, default=50, help="measured runs in a round")
    parser.add_argument("--warmup_runs", type=int, default=10, help="runs before them that do not count")
    parser.add_argument("--rounds", type=int, default=3, help="how often each file has its turn")
    return parser.parse_args()


def main() -> None:
    """Measures the files of a run, prints a table and writes the figures."""
    arguments = _arguments()
    counts = {name: getattr(arguments, name) for name in ("num_threads", "num_runs", "warmup_runs", "rounds")}
    quality = qualities(arguments.run)
    files = [path for path in sorted(arguments.run.iterdir()) if path.suffix in (".keras", ".onnx", ".tflite")]
    batches = [(files, _image_size(arguments.run / "student.tflite"))]
    if arguments.teacher:
        batches.append(([arguments.teacher], _image_size(arguments.teacher)))
    rows = []
    for paths, size in batches:
        pixels = np.random.default_rng(0).integers(0, 256, (16, *size, 3), dtype=np.uint8)
        for path, row in zip(paths, measure_in_turn(paths, pixels, **counts), strict=True):
            rows.append({**row, "map": quality.get(sha256_of(path))})
    print(markdown_table(rows))
    if arguments.picture:
        draw(rows, arguments.picture)
    if arguments.json:
        figures = {
            f"{Path(row['name']).stem}_{Path(row['name']).suffix[1:]}_ms": row["latency_ms_median"] for row in rows
        }
        machine = {"machine": platform.machine(), "processors": os.cpu_count(), "python": platform.python_version()}
        write_json(arguments.json, {"figures": figures, "rows": rows, **machine, **counts})


if __name__ == "__main__":
    run_command(main)
