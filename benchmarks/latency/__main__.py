"""How long one image takes in each file of a run, with the quality of that same file beside it.

    python -m benchmarks.latency --run=runs/quickstart --json=latency.json

Each file is measured in processes of its own, in turn, for several rounds: load that comes and goes on the machine
then falls on all of them. The figures are times of this machine; compare them within one run only.
"""

import argparse
import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import drawing
from export.measure.latency import markdown_table, measure_in_turn
from kdistill.errors import KdistillError, run_command
from kdistill.files.whole import sha256_of, write_json
from kdistill.runtimes.opening import open_image_model

_MARKERS = {".tflite": "o", ".onnx": "s", ".keras": "D"}


def draw(rows: Sequence[dict[str, Any]], path: Path | str) -> None:
    """Draws mAP against median latency, a point a file, its area by its size on disk, its shape by its format."""
    plt = drawing.pyplot()
    from matplotlib import ticker

    measured = sorted((row for row in rows if row.get("map") is not None), key=lambda row: row["latency_ms_median"])
    figure, axes = plt.subplots(figsize=(8.5, 4.5), layout="constrained")
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
    plt.close(figure)


def qualities(run: Path) -> dict[str, float]:
    """Returns mAP by sha256, from the run's card: a file that changed since it was verified has none."""
    try:
        card = json.loads((run / "card.json").read_text(encoding="utf-8"))
        return {entry["sha256"]: entry["map"] for entry in card["files"]}
    except (OSError, ValueError, KeyError) as error:
        raise KdistillError(f"{run / 'card.json'} cannot be read; run the export stage first ({error})") from error


def _image_size(path: Path) -> int:
    return open_image_model(path, f"the model {path}").input.side


def _arguments() -> argparse.Namespace:
    # num_threads, num_runs and warmup_runs are named as in LiteRT's own benchmark tool.
    parser = argparse.ArgumentParser(description="Latency, size and quality of the files of a run.")
    parser.add_argument("--run", type=Path, required=True, help="work folder of a run whose export stage is done")
    parser.add_argument("--teacher", type=Path, help="a .keras, .onnx or .tflite file to measure beside them")
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
        pixels = np.random.default_rng(0).integers(0, 256, (16, size, size, 3), dtype=np.uint8)
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
