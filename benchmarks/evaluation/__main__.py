"""Cost of the revisited protocol at a million distractors: counting ranks against sorting the whole gallery.

    python -m benchmarks.evaluation --json=benchmarks/results/evaluation.json

70 queries search 1,000,000 embeddings of 512 float32 numbers in a memory-mapped file (2 GB, generated in a temporary
folder). In one run it times

- ours: `evaluate_revisited` on the mapped file, all three levels;
- the reference: the full score matrix, `argsort` of every column, and for each level and query a search of the sorted
  list for positives and junk, as the evaluation code that came with the benchmark does it.

Figures: `speedup_1m` (reference seconds / our seconds), `peak_extra_mib` (our peak resident memory above what stood
before, mapped pages included; the highest of all sizes), `max_abs_error` (largest difference of any figure from the
reference loop over a stable full sort of the same scores; the timed reference computes its own product, whose rounding
swaps a few neighbours, see `max_abs_difference_own_product`), and `linearity` (cost per row at the largest size / cost
per row at the smallest).
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

from benchmarks import drawing
from kdistill.data.layouts.revisited_truth import RevisitedTruth
from kdistill.evaluation.blockwise.similarity import map_blocks, plan
from kdistill.evaluation.revisited import LEVELS, evaluate_revisited
from kdistill.files.whole import write_json

KS = (1, 5, 10)
MEMORY_MB = 512
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
    return figures_of(np.argsort(-scores, axis=0), truth)


def figures_of(ranks: np.ndarray, truth: RevisitedTruth) -> dict[str, float]:
    """Returns mAP and mP@k of each level from full rankings int64 [G, Q], best first, one column a query."""
    figures: dict[str, float] = {}
    for level, (positive_grades, junk_grades) in LEVELS.items():
        precisions, columns = [], []
        for query in range(ranks.shape[1]):
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


def stable_reference_error(
    queries: np.ndarray, gallery: np.ndarray, truth: RevisitedTruth, figures: dict[str, float]
) -> float:
    """Returns the largest difference from a full stable sort of the very scores that our ranks come from."""
    cut = plan(len(queries), len(gallery), queries.shape[1], MEMORY_MB)
    blocks = map_blocks(lambda _, scores: scores, queries, gallery, cut, "dot")
    ranks = np.argsort(-np.concatenate(list(blocks), axis=1), axis=1, kind="stable").T
    return largest_difference(figures, figures_of(ranks, truth))


def largest_difference(figures: dict[str, float], expected: dict[str, float]) -> float:
    """Returns the largest absolute difference of any expected figure."""
    return max(abs(figures[name] - value) for name, value in expected.items())


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Returns (wall seconds, result)."""
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def measure_size(rows: int, queries: int, dim: int, repeats: int, folder: Path) -> dict[str, float]:
    """Returns times, memory and differences for one gallery size; ours and the reference take turns."""
    path = folder / "gallery.npy"
    points, truth = generate(path, rows, queries, dim, seed=rows)
    gallery = np.load(path, mmap_mode="r")

    def ours() -> dict[str, float]:
        scores = evaluate_revisited(points, gallery, truth, ks=KS, similarity="dot", max_memory_mb=MEMORY_MB)
        return scores.as_dict()

    memory = peak_extra_mib(ours)
    runs = [(timed(ours), timed(lambda: reference(points, gallery, truth))) for _ in range(repeats)]
    our_seconds, reference_seconds = (float(np.median([run[which][0] for run in runs])) for which in (0, 1))
    (_, figures), (_, expected) = runs[0]
    row = {
        "rows": rows,
        "seconds": our_seconds,
        "reference_seconds": reference_seconds,
        "speedup": reference_seconds / our_seconds,
        "peak_extra_mib": memory,
        "max_abs_error": stable_reference_error(points, gallery, truth, figures),
        "max_abs_difference_own_product": largest_difference(figures, expected),
        **{name: figures[name] for name in ("map_easy", "map_medium", "map_hard")},
    }
    path.unlink()
    return row


def measure(sizes: tuple[int, ...], queries: int, dim: int, repeats: int, folder: Path) -> dict[str, Any]:
    """Runs all sizes and returns the object that is written as JSON."""
    details = []
    for rows in sizes:
        details.append(measure_size(rows, queries, dim, repeats, folder))
        print(json.dumps(details[-1]), flush=True)
    first, last = details[0], details[-1]
    return {
        "figures": {
            "speedup_1m": last["speedup"],
            "peak_extra_mib": max(row["peak_extra_mib"] for row in details),
            "max_abs_error": max(row["max_abs_error"] for row in details),
            "linearity": (last["seconds"] / last["rows"]) / (first["seconds"] / first["rows"]),
        },
        "queries": queries,
        "dimension": dim,
        "sizes": details,
        "machine": {"cpus": os.cpu_count(), "processor": platform.machine(), "numpy": np.__version__},
    }


def draw(result: dict[str, Any], path: Path) -> None:
    """Writes a picture of time against gallery size."""
    plt = drawing.pyplot()
    rows = [row["rows"] for row in result["sizes"]]
    figure, axes = plt.subplots(figsize=(5, 3.5), layout="constrained")
    axes.loglog(rows, [row["reference_seconds"] for row in result["sizes"]], "o-", label="full sort, reference loop")
    axes.loglog(rows, [row["seconds"] for row in result["sizes"]], "o-", label="counting over blocks")
    axes.set(xlabel="gallery rows", ylabel="seconds, 70 queries, three levels")
    axes.legend()
    figure.savefig(path, dpi=120)


def table(result: dict[str, Any]) -> str:
    """Returns the result as a Markdown table."""
    lines = [
        f"{result['queries']} queries, {result['dimension']}-d float32, {result['machine']['cpus']} cores",
        "",
        "| gallery rows | full sort, reference loop | counting over blocks | ratio | memory | max. error |",
        "|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {row['rows']:,} | {row['reference_seconds']:.2f} s | {row['seconds']:.2f} s | {row['speedup']:.1f} "
        f"| {row['peak_extra_mib']:.0f} MiB | {row['max_abs_error']:.0e} |"
        for row in result["sizes"]
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Parses the command line, measures, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="file to write the result to, a table and a picture beside it")
    parser.add_argument("--smoke", action="store_true", help="small sizes: shows that it runs, not how fast")
    parser.add_argument("--repeats", type=int, default=3, help="timed runs of each; medians count")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        sizes, queries, dim = (SMOKE_SIZES, 7, 32) if arguments.smoke else (SIZES, 70, 512)
        result = measure(sizes, queries, dim, arguments.repeats, Path(folder))
    print(json.dumps(result["figures"], indent=2))
    if arguments.json:
        write_json(arguments.json, result)
        arguments.json.with_suffix(".md").write_text(table(result))
        draw(result, arguments.json.with_suffix(".png"))


if __name__ == "__main__":
    main()
