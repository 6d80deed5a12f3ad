"""Which networks pass the gate in which format: parameters, multiply-adds, each file's figures and latency.

`python -m benchmarks.backbones --weights_dir=DIR --json=benchmarks/results/backbones.json` goes on where it stopped;
`--smoke` takes a minute. Photos: the embedded digits, enlarged. A cell passes the gate of `python -m export verify`, or
says why not in the words of the program; weights that could not be had are random, and the row says so. Times are those
of one image in one thread, as ratios to MobileNetV2 1.0 as TFLite float32, with which all files of a row take turns; of
each the fastest run counts, since the load of others only adds.
"""

import argparse
import os
import platform
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from benchmarks.backbones.counting import multiply_adds
from benchmarks.backbones.networks import DIMENSION, NETWORKS, SMOKE, Network, student_of
from export.formats.metadata import file_metadata
from export.formats.onnx import export_onnx
from export.formats.tflite import export_tflite
from export.gate.verify import verify_files
from export.measure.worker import open_model
from export.retriever.shards import build_files
from kdistill import students
from kdistill.data import load_pixels
from kdistill.data.digits import digits_data
from kdistill.errors import ArgumentError, KdistillError, run_command
from kdistill.files.whole import read_json_object, write_json, write_whole

Write = Callable[[Any, Path, np.ndarray], Any]


def _student(file_format: str, precision: str) -> Write:
    export = export_onnx if file_format == "onnx" else export_tflite

    def write(student: Any, path: Path, pixels: np.ndarray) -> None:
        calibration = pixels if precision == "int8" else None
        # By what it says of itself the gate knows what a file may lose.
        export(student, path, precision=precision, calibration=calibration, metadata=file_metadata(student, precision))

    return write


def _retriever(student: Any, path: Path, pixels: np.ndarray) -> None:
    vectors = student.predict(pixels, batch_size=32, verbose=0)
    build_files(student, vectors, [str(number) for number in range(len(vectors))], path, k=5)


FORMATS: dict[str, tuple[str, Write]] = {
    **{
        f"TFLite {precision}": (f"student_{precision}.tflite", _student("tflite", precision))
        for precision in ("float32", "float16", "dynamic_int8", "int8")
    },
    **{
        f"ONNX {precision}": (f"student_{precision}.onnx", _student("onnx", precision))
        for precision in ("float32", "int8")
    },
    "retriever": ("retriever.tflite", _retriever),
}


_WARMUP = 3
_REFERENCE = "reference.tflite"


def row_of(network: Network, size: int, weights_dir: Path | None, limit: int, runs: int) -> dict[str, Any]:
    """Returns a row: facts of the network, and a cell for each format."""
    images = digits_data().gallery.subset(range(limit))
    pixels = load_pixels(images, size, description="reading").pixels
    labels = np.asarray(images.labels)
    try:
        student, weights = student_of(network, size, weights_dir, pixels)
    except FileNotFoundError as error:
        return {"name": network.name, "missing": f"{error} was not given with --weights_dir", "cells": {}}
    except ArgumentError as error:
        return {"name": network.name, "missing": str(error), "cells": {}}
    row: dict[str, Any] = {
        "name": network.name,
        "weights": weights,
        "keras": keras.__version__,
        "tensorflow": tf.__version__,
        "size": size,
        "parameters": student.count_params(),
        "multiply_adds": multiply_adds(student),
    }
    cells: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, (file, write) in FORMATS.items():
            path = Path(folder) / file
            try:
                write(student, path, pixels)
                (check,) = verify_files(student, [path], pixels, labels)
            except KdistillError as error:
                cells[name] = {"refused": str(error).replace(f"{folder}/", "")}
                continue
            cells[name] = {"passed": check.passed, "reason": check.reason, "bytes": check.bytes,
                           "cosine_mean": check.cosine_mean, "map_drop": check.map_drop}  # fmt: skip
        passed = {name: Path(folder) / FORMATS[name][0] for name, cell in cells.items() if cell.get("passed")}
        reference = Path(folder) / _REFERENCE
        export_tflite(students.build("mobilenet_v2", image_size=size, embedding_dim=DIMENSION), reference)
        against, *own = _fastest([reference, *passed.values()], pixels[:16], runs)
        for name, seconds in zip(passed, own, strict=True):
            cells[name]["latency_ratio"] = seconds / against
    keras.backend.clear_session()
    return {**row, "cells": cells}


def _fastest(paths: list[Path], pixels: np.ndarray, runs: int) -> list[float]:
    """Returns the seconds of the fastest run of each file, all of which take turns."""
    models = [open_model(str(path), num_threads=1) for path in paths]
    times = np.empty((runs, len(models)))
    for turn in range(-_WARMUP, runs):
        image = pixels[turn % len(pixels)][None]
        for place, model in enumerate(models):
            start = time.perf_counter()
            model(image)
            times[max(turn, 0), place] = time.perf_counter() - start
    return [float(fastest) for fastest in times.min(0)]


def table(rows: list[dict[str, Any]]) -> str:
    """Returns the rows as a Markdown table: size, mean cosine and ratio of times of each file that passes."""
    lines = [
        f"| network | weights | parameters | multiply-adds | {' | '.join(FORMATS)} |",
        f"|---|---|---|---|{'---|' * len(FORMATS)}",
    ]
    notes = []
    for row in rows:
        if "missing" in row:
            notes.append(f"- {row['name']}: {row['missing']}")
            continue
        cells = [_cell(row["cells"][name]) for name in FORMATS]
        facts = f"{row['name']} | {row['weights']} | {row['parameters']:,} | {row['multiply_adds'] / 1e6:,.0f} M"
        lines.append(f"| {facts} | {' | '.join(cells)} |")
        for name, cell in row["cells"].items():
            why = cell.get("refused") or cell.get("reason")
            notes += [f"- {row['name']}, {name}: {why}"] if why else []
    return "\n".join([*lines, "", *notes]) + "\n"


def _cell(cell: dict[str, Any]) -> str:
    if "refused" in cell:
        return "refused"
    if not cell["passed"]:
        return f"fails ({cell['map_drop']:.1f} points)"
    return f"{cell['bytes'] / 1e6:.1f} MB, {cell['cosine_mean']:.4f}, x{cell['latency_ratio']:.2f}"


def main() -> None:
    """Measures what is not measured yet, and writes the table after each network."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights_dir", type=Path, help="files of pretrained weights; random without")
    parser.add_argument("--image_size", type=int, default=96)
    parser.add_argument("--json", type=Path, help="where the figures go, and the table beside them (.md)")
    parser.add_argument("--only", nargs="+", default=[], help="names of networks")
    parser.add_argument("--smoke", action="store_true", help="one tiny network")
    arguments = parser.parse_args()
    networks = SMOKE if arguments.smoke else NETWORKS
    size, limit, runs = (32, 40, 3) if arguments.smoke else (arguments.image_size, 120, 100)
    known = read_json_object(arguments.json).get("rows", []) if arguments.json else []
    rows = {row["name"]: row for row in known if row.get("size") == size and "missing" not in row}
    for network in networks:
        if network.name in rows or (arguments.only and network.name not in arguments.only):
            continue
        rows[network.name] = row_of(network, size, arguments.weights_dir, limit, runs)
        ordered = [rows[one.name] for one in networks if one.name in rows]
        if arguments.json:
            machine = {"machine": platform.machine(), "processors": os.cpu_count(), "date": f"{date.today()}"}
            write_json(arguments.json, {"rows": ordered, **machine})
            write_whole(arguments.json.with_suffix(".md"), table(ordered))
    print(table([rows[one.name] for one in networks if one.name in rows]))


if __name__ == "__main__":
    run_command(main)
