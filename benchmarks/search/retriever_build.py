"""What it costs to build a retriever from a large memory-mapped gallery, and to change a few rows afterwards.

    python -m benchmarks.search.retriever_build --rows=1000000 --json=build.json

Each step runs in a process of its own, so that its peak memory is its own. Figures: `build_seconds`,
`build_peak_gib`, `update_seconds`, `update_peak_gib`, `file_gib`.
"""

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from export.measure.worker import peak_memory_mib
from export.retriever.build import build_search
from export.retriever.update import update_retriever
from kdistill.files.whole import write_json

CHANGED = 1000


def write_gallery(path: Path, rows: int, dimension: int) -> None:
    """Writes random float32 unit vectors [rows, dimension] in pieces."""
    rng = np.random.default_rng(0)
    matrix = np.lib.format.open_memmap(path, "w+", np.float32, (rows, dimension))
    for start in range(0, rows, 50_000):
        part = rng.standard_normal((min(50_000, rows - start), dimension), np.float32)
        matrix[start : start + len(part)] = part / np.linalg.norm(part, axis=1, keepdims=True)
    matrix.flush()


def build(folder: Path, precision: str) -> None:
    """Builds the retriever from the mapped matrix."""
    embeddings = np.load(folder / "gallery.npy", mmap_mode="r")
    ids = [f"image {row}" for row in range(len(embeddings))]
    build_search(embeddings, ids, folder / "retriever.tflite", precision=precision)


def update(folder: Path, precision: str) -> None:
    """Removes CHANGED rows and adds as many."""
    embeddings = np.load(folder / "gallery.npy", mmap_mode="r")[:CHANGED]
    update_retriever(
        folder / "retriever.tflite",
        folder / "updated.tflite",
        remove=[f"image {row}" for row in range(CHANGED)],
        embeddings=embeddings,
        ids=[f"new {row}" for row in range(CHANGED)],
    )


def measured(step: Callable[[Path, str], None], folder: Path, precision: str) -> tuple[float, float]:
    """Returns seconds and peak GiB of one step in a fresh process."""
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    process = context.Process(target=_run, args=(step, folder, precision, results))
    process.start()
    seconds, peak = results.get()
    process.join()
    return seconds, peak


def _run(step: Callable[[Path, str], None], folder: Path, precision: str, results: multiprocessing.Queue) -> None:
    start = time.perf_counter()
    step(folder, precision)
    results.put((time.perf_counter() - start, peak_memory_mib() / 1024))


def main() -> None:
    """Builds, updates, prints."""
    parser = argparse.ArgumentParser(description="Cost of building and of updating a retriever.")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dimension", type=int, default=128)
    parser.add_argument("--precision", default="int8", choices=["float32", "float16", "int8"])
    parser.add_argument("--folder", type=Path, help="where temporary files go (1.1 GB for the default)")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as temporary:
        folder = Path(temporary)
        write_gallery(folder / "gallery.npy", arguments.rows, arguments.dimension)
        figures = {}
        for name, step in (("build", build), ("update", update)):
            figures[f"{name}_seconds"], figures[f"{name}_peak_gib"] = measured(step, folder, arguments.precision)
        figures["file_gib"] = (folder / "retriever.tflite").stat().st_size / 2**30
    for name, value in figures.items():
        print(f"{name:16s} {value:.2f}")
    if arguments.json:
        settings = {"rows": arguments.rows, "dimension": arguments.dimension, "precision": arguments.precision}
        write_json(arguments.json, {"figures": figures, **settings})


if __name__ == "__main__":
    main()
