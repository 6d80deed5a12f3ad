"""One-file search against exact indexes: time of one query and of 32, recall against float32, limits of the machine.

    python -m benchmarks.search --embeddings=runs/grocery/gallery.npz --json=search.json

The gallery is grown from real embeddings (see `benchmarks/search/grown_gallery.py`), so that every query has many near
neighbours, which is where quantised searches err. Queries are real embeddings that are not in the gallery. Without
`--embeddings`, clusters of random points take their place.

Candidates are timed in turns of several queries, again and again, with a pause before each turn (idle threads of other
libraries spin for a while); a candidate's time is the median in its fastest turn: what else runs on the machine only
ever adds to it, and most to libraries whose threads wait for each other. `int8_vs_best_exact_SIZE` is the fastest
peer's time divided by ours, whatever that peer's recall; `int8_vs_best_accurate_SIZE` counts only peers that reach
`--min_recall`.
"""

import argparse
import os
import platform
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.search.grown_gallery import clusters, grow, read_embeddings
from benchmarks.search.peers import Search, peers
from export.retriever.build import build_search
from kdistill.errors import run_command
from kdistill.files.whole import write_json
from kdistill.runtimes.tflite import open_tflite

K, BATCH = 10, 32
HELD_OUT = 200
_PAUSE = 0.1
"""Seconds before a turn: numpy's threads spin for about 20 ms after a product, and take a core from whoever follows."""


def ours(gallery: np.ndarray, precision: str, folder: Path, num_threads: int) -> Search:
    """Returns the search of a file built from the gallery, by the interpreter's own calls, BATCH queries at most."""
    path = folder / f"{precision}.tflite"
    build_search(gallery, [str(row) for row in range(len(gallery))], path, k=K, precision=precision)
    interpreter = open_tflite(path, num_threads=num_threads)
    query = interpreter.get_input_details()[0]["index"]
    rows = next(out["index"] for out in interpreter.get_output_details() if out["name"] == "ids")

    held = 1  # queries that the interpreter is sized for

    def search(queries: np.ndarray) -> np.ndarray:
        nonlocal held
        found = np.empty((len(queries), K), np.int32)
        for start in range(0, len(queries), BATCH):
            part = queries[start : start + BATCH]
            if len(part) != held:
                interpreter.resize_tensor_input(query, part.shape)
                interpreter.allocate_tensors()
                held = len(part)
            interpreter.set_tensor(query, part)
            interpreter.invoke()
            found[start : start + BATCH] = interpreter.get_tensor(rows)
        return found

    return search


def race(candidates: dict[str, Search], queries: np.ndarray, *, rounds: int, per_turn: int) -> dict[str, float]:
    """Returns the milliseconds of one call with `queries[i]` ([Q, D] of a stack [calls, Q, D]), for each candidate."""
    turns: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, search in candidates.items():
            time.sleep(_PAUSE)
            search(queries[-1])
            times = []
            for call in queries[:per_turn]:
                start = time.perf_counter()
                search(call)
                times.append(1000 * (time.perf_counter() - start))
            turns[name].append(float(np.median(times)))
    return {name: min(medians) for name, medians in turns.items()}


def recall(found: np.ndarray, exact: np.ndarray) -> float:
    """Returns the share of the exact rows [Q, k] that were found."""
    shared = [len(set(one) & set(other)) for one, other in zip(found.tolist(), exact.tolist(), strict=True)]
    return sum(shared) / exact.size


def read_bandwidth(num_threads: int) -> float:
    """Returns GiB/s at which the threads read a matrix larger than the caches."""
    parts = np.array_split(np.ones(2**25, np.int64), num_threads)
    with ThreadPoolExecutor(num_threads) as pool:
        best = float("inf")
        for _ in range(5):
            start = time.perf_counter()
            list(pool.map(np.max, parts))
            best = min(best, time.perf_counter() - start)
    return 2**28 / 2**30 / best


def compare(size: int, base: np.ndarray, queries: np.ndarray, arguments: argparse.Namespace) -> dict[str, Any]:
    """Measures all candidates on one gallery size."""
    gallery = grow(base, size, np.random.default_rng(size))
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        candidates = {
            f"ours_{name}": ours(gallery, name, Path(folder), arguments.num_threads) for name in ("int8", "float32")
        }
        candidates |= peers(gallery, K, arguments.num_threads)
        exact = candidates["numpy"](queries)
        recalls = {name: recall(search(queries), exact) for name, search in candidates.items()}
        rounds, per_turn = (15, 40) if size <= 20_000 else (12, 15) if size <= 200_000 else (9, 5)
        single = race(candidates, queries[:, None], rounds=rounds, per_turn=per_turn)
        batches = np.stack([queries[start : start + BATCH] for start in range(0, 4 * BATCH, BATCH)])
        batch = race(candidates, batches, rounds=max(2, rounds // 4), per_turn=2)
    return {"size": size, "ms": single, f"ms_batch_{BATCH}": batch, "recall": recalls}


def figures_of(result: dict[str, Any], min_recall: float) -> dict[str, float]:
    """Returns the ratios of one size; above 1 means that we are faster."""
    size, ms, batch = result["size"], result["ms"], result[f"ms_batch_{BATCH}"]
    label = f"{size // 1_000_000}m" if size >= 1_000_000 else f"{size // 1000}k"
    others = [name for name in ms if not name.startswith("ours")]
    accurate = [name for name in others if result["recall"][name] >= min_recall]
    return {
        f"int8_vs_best_exact_{label}": min(ms[name] for name in others) / ms["ours_int8"],
        f"int8_vs_best_accurate_{label}": min(ms[name] for name in accurate) / ms["ours_int8"],
        f"float32_vs_faiss_flat_{label}": ms["faiss_flat"] / ms["ours_float32"],
        f"int8_batch32_vs_best_faiss_{label}": min(batch[name] for name in others if "faiss" in name)
        / batch["ours_int8"],
        f"recall_at_10_{label}": result["recall"]["ours_int8"],
    }


def main() -> None:
    """Runs the comparison and prints it."""
    parser = argparse.ArgumentParser(description="The retriever's search against exact indexes.")
    parser.add_argument("--embeddings", type=Path, help="gallery.npz of a run, or an .npy matrix; default: clusters")
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--num_threads", type=int, default=2)
    parser.add_argument("--min_recall", type=float, default=0.99, help="recall@10 of an accurate peer")
    parser.add_argument("--folder", type=Path, help="where temporary files go (0.8 GB at a million rows)")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    if arguments.embeddings:
        embeddings = rng.permutation(read_embeddings(arguments.embeddings, at_least=2 * HELD_OUT))
    else:
        embeddings = clusters(rng)
    queries, base = embeddings[:HELD_OUT], embeddings[HELD_OUT:]
    results, figures = [], {"read_bandwidth_gib_s": read_bandwidth(arguments.num_threads)}
    for size in arguments.sizes:
        results.append(compare(size, base, queries, arguments))
        figures |= figures_of(results[-1], arguments.min_recall)
        print(f"{size:,} rows of {embeddings.shape[1]}")
        for name, ms in sorted(results[-1]["ms"].items(), key=lambda item: item[1]):
            batch = results[-1][f"ms_batch_{BATCH}"][name]
            print(
                f"  {name:26s} {ms:9.3f} ms  {batch:9.2f} ms for {BATCH}  recall@10 {results[-1]['recall'][name]:.4f}"
            )
    for name, value in figures.items():
        print(f"{name:36s} {value:.3f}")
    if arguments.json:
        machine = {"machine": platform.processor() or platform.machine(), "processors": os.cpu_count()}
        settings = {
            "num_threads": arguments.num_threads,
            "dimension": embeddings.shape[1],
            "real": arguments.embeddings is not None,
        }
        write_json(arguments.json, {"figures": figures, "sizes": results, **settings, **machine})


if __name__ == "__main__":
    run_command(main)
