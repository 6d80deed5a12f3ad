"""Cost of the revisited protocol at a million distractors: counting ranks against sorting the whole gallery.

    python -m benchmarks.evaluation --json=benchmarks/results/evaluation.json

70 queries search 1,000,000 embeddings of 512 float32 numbers in a memory-mapped file (2 GB, generated in a temporary
folder). In one run it times

- ours: `evaluate_revisited` on the mapped file, all three levels;
- the reference: the full score matrix, `argsort` of every column, and for each level and query a search of the sorted
  list for positives and junk, as the evaluation code that came with the benchmark does it.

Figures: `speedup_1m` (reference seconds / our seconds), `peak_extra_mib` (our peak resident memory above what stood
before, mapped pages included), `max_abs_error` (largest difference of any figure from the reference's), and
`linearity` (cost per row at the largest size / cost per row at the smallest).
"""

import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from kdistill.data.revisited import RevisitedTruth
from kdistill.evaluation.revisited import LEVELS, evaluate_revisited

KS = (1, 5, 10)
SIZES = (100_000, 300_000, 1_000_000)
SMOKE_SIZES = (2_000, 6_000, 20_000)


def generate(path: Path, rows: int, queries: int, dim: int, seed: int) -> tuple[np.ndarray, RevisitedTruth]:
    """Writes unit vectors [rows, dim] to `path` and returns (queries float32 [Q, dim], ground truth).

    All labelled images lie in the first 5,000 rows (or all rows of a smaller gallery), as those of the benchmarks do.
    Positives share a direction with their query, hard ones less of it, so that ranks go from the first to the last
    thousands.
    """
    random = np.random.default_rng(seed)
    points = random.standard_normal((queries, dim), np.float32)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    matrix = np.lib.format.open_memmap(path, "w+", np.float32, (rows, dim))
    for start in range(0, rows, 20_000):
        block = random.standard_normal((min(20_000, rows - start), dim), np.float32)
        matrix[start : start + len(block)] = block / np.linalg.norm(block, axis=1, keepdims=True)
    labelled = min(rows, 5_000)
    grades: dict[str, list[np.ndarray]] = {"easy": [], "hard": [], "junk": []}
    for point in points:
        chosen = random.choice(labelled, min(180, labelled // 70), replace=False)
        for part, grade, strength in zip(np.array_split(chosen, 3), grades, (0.9, 0.3, 0.5), strict=True):
            share = strength * random.random((len(part), 1), np.float32)
            mixed = share * point + (1 - share) * matrix[part]
            matrix[part] = mixed / np.linalg.norm(mixed, axis=1, keepdims=True)
            grades[grade].append(np.sort(part))
    matrix.flush()
    return points, RevisitedTruth(*(tuple(found) for found in grades.values()))


def reference(queries: np.ndarray, gallery: np.ndarray, truth: RevisitedTruth) -> dict[str, float]:
    """Returns mAP and mP@k of each level by a full sort, the ranking scanned once for each level and query."""
    scores = np.dot(gallery, queries.T)
    ranks = np.argsort(-scores, axis=0)
    figures: dict[str, float] = {}
    for level, (positive_grades, junk_grades) in LEVELS.items():
        precisions, columns = [], []
        for query in range(len(queries)):
            positives = np.concatenate([getattr(truth, grade)[query] for grade in positive_grades])
            junk = np.concatenate([getattr(truth, grade)[query] for grade in junk_grades])
            if not len(positives):
                continue
            found = np.arange(len(ranks))[np.isin(ranks[:, query], positives)]
            passed = np.arange(len(ranks))[np.isin(ranks[:, query], junk)]
            before = 0
            for number, position in enumerate(found):
                while before < len(passed) and passed[before] < position:
                    before += 1
                found[number] = position - before
            precision = 0.0
            for number, rank in enumerate(found):
                left = 1.0 if rank == 0 else number / rank
                precision += (left + (number + 1) / (rank + 1)) / (2 * len(positives))
            precisions.append(precision)
            cuts = [min(int(found.max()) + 1, k) for k in KS]
            columns.append([np.count_nonzero(found < cut) / cut for cut in cuts])
        figures[f"map_{level}"] = float(np.mean(precisions))
        for k, value in zip(KS, np.mean(columns, axis=0), strict=True):
            figures[f"mp_at_{k}_{level}"] = float(value)
    return figures


def peak_extra_mib(work: Callable[[], Any]) -> float:
    """Returns by how much `work` raises the peak resident memory of this process, in MiB (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmHWM")
    work()
    return (_status("VmHWM") - before) / 1024


def _status(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1])
    raise RuntimeError(f"/proc/self/status has no {field}")


def seconds(work: Callable[[], Any], repeats: int) -> float:
    """Returns the median wall time of `work`."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def measure(sizes: tuple[int, ...], queries: int, dim: int, repeats: int, folder: Path) -> dict[str, Any]:
    """Runs all sizes and returns the object that is written as JSON."""
    details: list[dict[str, float]] = []
    for rows in sizes:
        path = folder / "gallery.npy"
        points, truth = generate(path, rows, queries, dim, seed=rows)
        gallery = np.load(path, mmap_mode="r")

        def ours(points: np.ndarray = points, gallery: np.ndarray = gallery, truth: RevisitedTruth = truth) -> Any:
            return evaluate_revisited(points, gallery, truth, ks=KS, similarity="dot")

        memory = peak_extra_mib(ours)
        our_seconds = seconds(ours, repeats)
        figures = ours().as_dict()
        start = time.perf_counter()
        expected = reference(points, gallery, truth)
        reference_seconds = time.perf_counter() - start
        details.append(
            {
                "rows": rows,
                "seconds": our_seconds,
                "reference_seconds": reference_seconds,
                "speedup": reference_seconds / our_seconds,
                "peak_extra_mib": memory,
                "max_abs_error": max(abs(figures[name] - value) for name, value in expected.items()),
                **{name: figures[name] for name in ("map_easy", "map_medium", "map_hard")},
            }
        )
        print(json.dumps(details[-1]), flush=True)
        del gallery, ours
        path.unlink()
    first, last = details[0], details[-1]
    return {
        "figures": {
            "speedup_1m": last["speedup"],
            "peak_extra_mib": last["peak_extra_mib"],
            "max_abs_error": max(row["max_abs_error"] for row in details),
            "linearity": (last["seconds"] / last["rows"]) / (first["seconds"] / first["rows"]),
        },
        "queries": queries,
        "dimension": dim,
        "sizes": details,
        "machine": {"cpus": os.cpu_count(), "processor": platform.machine(), "numpy": np.__version__},
    }


def main() -> None:
    """Parses the command line, measures, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="file to write the result to")
    parser.add_argument("--smoke", action="store_true", help="small sizes: shows that it runs, not how fast")
    parser.add_argument("--repeats", type=int, default=3, help="timed runs of ours; the median counts")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        sizes, queries, dim = (SMOKE_SIZES, 7, 32) if arguments.smoke else (SIZES, 70, 512)
        result = measure(sizes, queries, dim, arguments.repeats, Path(folder))
    print(json.dumps(result["figures"], indent=2))
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
