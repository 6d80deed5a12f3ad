"""Whether int8 retrievers find, for queries from outside, what their build promises: 5 kinds, 3 sizes, 4 seeds.

    python -m benchmarks.recall_gate --json=recall_gate.json                     # minutes at 10k rows, an hour at 1M
    python -m benchmarks.recall_gate --embeddings=runs/grocery/gallery.npz --json=recall_gate.json
    python -m benchmarks.recall_gate --smoke --json=smoke.json                   # a minute

Each gallery (`benchmarks/search/kinds.py`) is built into a `.tflite` file as users build it, without its queries; 200
queries that are not in it then ask the file for ten neighbours, which are compared with the exact ones. What is done
already stands in the JSON file and is not done again. Figures: `recall_gate_worst`, the least recall@10 of all data
sets; `recall_gate_mean`; `recall_outside_10k`, `_100k`, `_1m`, the least of a size.
"""

import argparse
import itertools
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.search.grown_gallery import read_embeddings
from benchmarks.search.kinds import HELD_OUT, KINDS, make
from benchmarks.search.race import exact_rows, recall
from export.retriever.build import build_search
from export.retriever.client import Retriever
from export.retriever.sidecar import read_sidecar
from kdistill.errors import KdistillError, run_command
from kdistill.files.whole import write_json

K = 10
SIZES, SEEDS = (10_000, 100_000, 1_000_000), (0, 1, 2, 3)


def measure(gallery: np.ndarray, queries: np.ndarray, folder: Path) -> dict[str, Any]:
    """Returns the recall@10 of an int8 file, with what its sidecar promises and the seconds of its build."""
    path = folder / "gate.tflite"
    start = time.perf_counter()
    build_search(gallery, [str(row) for row in range(len(gallery))], path, k=K, precision="int8")
    seconds = time.perf_counter() - start
    found = Retriever(path, num_threads=1).search_embeddings(queries)[1]
    sidecar = read_sidecar(path)
    assert sidecar.measured is not None
    return {
        "recall": recall(found, exact_rows(gallery, queries, K)),
        "bound": sidecar.measured.bound,
        "scanned": sidecar.scanned,
        "shortlist": sidecar.measured.shortlist,
        "build_seconds": round(seconds, 1),
    }


def figures_of(results: dict[str, dict[str, Any]]) -> dict[str, float]:
    """Returns the figures of results by KIND/SIZE/SEED."""
    recalls = {name: result["recall"] for name, result in results.items()}
    if not recalls:
        return {}
    figures = {"recall_gate_worst": min(recalls.values()), "recall_gate_mean": float(np.mean(list(recalls.values())))}
    for size in sorted({int(name.split("/")[1]) for name in recalls}):
        label = f"{size // 1_000_000}m" if size >= 1_000_000 else f"{size // 1000}k"
        figures[f"recall_outside_{label}"] = min(
            share for name, share in recalls.items() if int(name.split("/")[1]) == size
        )
    return figures


def main() -> None:
    """Measures what is not in the file yet, and prints the figures."""
    parser = argparse.ArgumentParser(description="Recall of int8 retrievers for queries from outside the gallery.")
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--embeddings", type=Path, help="gallery.npz of a run, or an .npy matrix, for kind students")
    parser.add_argument("--smoke", action="store_true", help="2,000 and 70,000 rows, one seed")
    parser.add_argument("--folder", type=Path, help="where temporary files go (0.3 GB at a million rows)")
    parser.add_argument("--json", type=Path, help="where the results stand, and what is done already")
    arguments = parser.parse_args()
    if arguments.smoke:
        arguments.sizes, arguments.seeds = [2_000, 70_000], [0]
    embeddings = None
    if arguments.embeddings:
        embeddings = read_embeddings(arguments.embeddings, at_least=2 * HELD_OUT)
    settings = {"students": arguments.embeddings.name if arguments.embeddings else "made up", "queries": HELD_OUT}
    results = known(arguments.json, settings)
    for size, kind, seed in itertools.product(arguments.sizes, arguments.kinds, arguments.seeds):
        name = f"{kind}/{size}/{seed}"
        if name in results:
            continue
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            results[name] = measure(*make(kind, size, seed, embeddings=embeddings), Path(folder))
        facts = "  ".join(f"{key} {value}" for key, value in results[name].items())
        print(f"{name:24s} {facts}", flush=True)
        if arguments.json:
            write_json(arguments.json, {"figures": figures_of(results), **settings, "results": results})
    for name, value in figures_of(results).items():
        print(f"{name:24s} {value:.4f}")


def known(path: Path | None, settings: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Returns the results that stand in the file already, none where there is no file.

    Raises:
        KdistillError: the file is damaged, or of other settings.
    """
    if path is None or not path.exists():
        return {}
    try:
        content = json.loads(path.read_text())
        results, there = dict(content["results"]), {key: content[key] for key in settings}
    except (ValueError, KeyError, TypeError) as error:
        raise KdistillError(f"{path} holds no results of this benchmark: {error}") from error
    if there != settings:
        raise KdistillError(f"{path} was measured with {there}, not with {settings}; give another file to --json")
    return results


if __name__ == "__main__":
    run_command(main)
