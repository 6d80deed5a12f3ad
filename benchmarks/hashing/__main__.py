"""Binary codes against the float32 student: mAP by bits, bytes of the index, and the time of an exact search.

    python -m benchmarks.hashing --data_dir=DIR --student_weights=FILE --json=FILE

For each seed a float32 student is distilled as in `benchmarks.methods` (grocery, 330 questions), and heads of 16 to 128
bits are fitted behind its frozen embedding to all unlabelled images (`fit_hash_head`, no further question). Judged
leave-one-out on the test images, two ways: Hamming distance, where query and rows are codes, and asymmetric, where the
rows are the same codes and the query keeps its numbers. The mAP is `map_expected` of `evaluate_codes`, which does not
depend on how ties are broken. Students stand in --workdir, so that the same command continues after a kill.

Search: one query over --rows random codes of 64 bits, by code and by embedding, and as many float32 rows of 128, two
threads, fastest of several calls in turns.
"""

import argparse
import functools
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import drawing
from kdistill.console.progress import progress_bar
from kdistill.console.quiet import quiet
from kdistill.errors import ArgumentError, run_command
from kdistill.files.whole import write_json, write_whole

BITS = (16, 32, 64, 128)
RESULTS = Path("benchmarks/results")


def measure_quality(arguments: argparse.Namespace) -> dict[str, list[float]]:
    """Returns the mAP of each seed for `float32`, and for codes of K bits `K` (Hamming) and `K_asymmetric`."""
    import tensorflow as tf

    from benchmarks.hashing.train import embed, embedded_views, fitted_head, float_run, float_student
    from benchmarks.methods import data as methods_data
    from kdistill.evaluation import evaluate_leave_one_out
    from kdistill.hashing.codes import pack_codes
    from kdistill.hashing.scores import evaluate_codes

    tf.get_logger().setLevel("ERROR")
    tf.config.experimental.enable_op_determinism()
    problem = (
        methods_data.generated()
        if arguments.smoke
        else methods_data.grocery(
            arguments.data_dir, arguments.student_weights, arguments.workdir, image_size=None, steps=None
        )
    )
    judged = problem.test if arguments.judge_on == "test" else problem.validation
    names = [f"{bits}{query}" for query in ("", "_asymmetric") for bits in BITS]
    maps: dict[str, list[float]] = {name: [] for name in ("float32", *names)}
    for seed in progress_bar(range(arguments.seeds), description="seeds", unit="seed"):
        run = float_run(problem, 330, seed)
        student = float_student(problem, run, arguments.workdir)
        rows = embed(student, judged.pixels)
        maps["float32"].append(evaluate_leave_one_out(rows, judged.labels).map)
        pool, views = embed(student, problem.pool.pixels), embedded_views(student, problem, seed)
        for bits in BITS:
            embeddings = fitted_head(pool, views, bits, seed).predict(rows, batch_size=256, verbose=0)
            for name, queries in ((f"{bits}", None), (f"{bits}_asymmetric", embeddings)):
                scores = evaluate_codes(pack_codes(embeddings), judged.labels, queries=queries)
                maps[name].append(scores.details["map_expected"])
    return maps


def measure_search(rows: int, folder: Path, calls: int) -> dict[str, float]:
    """Returns the milliseconds of one exact search of ten neighbours by each candidate."""
    candidates: dict[str, Callable[[], Any]] = {}
    for precision, dimension in (("binary", 64), ("asymmetric", 64), ("float32", 128)):
        vectors = np.random.default_rng(0).standard_normal((rows, dimension), np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        query = vectors[:1] + np.float32(0.1)
        candidates |= _searches(precision, vectors, query / np.linalg.norm(query), folder)
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(calls):
        for name, search in candidates.items():
            start = time.perf_counter()
            search()
            times[name].append(1000 * (time.perf_counter() - start))
    return {name: min(values[1:]) for name, values in times.items()}


def _searches(precision: str, vectors: np.ndarray, query: np.ndarray, folder: Path) -> dict[str, Callable[[], Any]]:
    """Returns every exact search over rows float32 [n, D] of norm 1, or over their codes."""
    from export.retriever import Retriever
    from export.retriever.build import build_search
    from kdistill.evaluation.blockwise.product import inner_products
    from kdistill.hashing.asymmetric import asymmetric_neighbours
    from kdistill.hashing.codes import pack_codes
    from kdistill.hashing.hamming import hamming_neighbours

    searches: dict[str, Callable[[], Any]] = {}
    for suffix in (".tflite", ".onnx"):
        path = folder / f"{precision}{suffix}"
        build_search(vectors, [str(row) for row in range(len(vectors))], path, precision=precision)
        retriever = Retriever(path, num_threads=2, check_sha256=False)
        searches[f"{precision}_retriever{suffix}"] = functools.partial(retriever.search_embeddings, query)
    if precision == "asymmetric":
        codes = pack_codes(vectors)
        return searches | {"asymmetric_numpy": lambda: asymmetric_neighbours(query, codes, 10)}
    if precision == "binary":
        codes, code = pack_codes(vectors), pack_codes(query)
        return searches | {"binary_numpy": lambda: hamming_neighbours(code, codes, 10)} | _faiss(precision, codes, code)
    searches["float32_numpy"] = lambda: np.argpartition(query @ vectors.T, -10)[:, -10:]
    searches["float32_onnxruntime"] = lambda: np.argpartition(inner_products(query, vectors), -10)
    return searches | _faiss(precision, vectors, query)


def _faiss(precision: str, rows: np.ndarray, query: np.ndarray) -> dict[str, Callable[[], Any]]:
    """Returns faiss's exact search, or nothing where it is not installed."""
    try:
        import faiss
    except ImportError:
        return {}
    faiss.omp_set_num_threads(2)
    index = faiss.IndexBinaryFlat(8 * rows.shape[1]) if precision == "binary" else faiss.IndexFlatIP(rows.shape[1])
    index.add(rows)
    return {f"{precision}_faiss": lambda: index.search(query, 10)}


def figures_of(maps: dict[str, list[float]], ms: dict[str, float]) -> dict[str, float]:
    """Returns mAP (mean, deviation), its share of float32's, and how many times faster codes are searched."""
    figures = {}
    for name, values in maps.items():
        figures[f"map_{name}"] = float(np.mean(values))
        figures[f"std_{name}"] = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
        figures[f"share_{name}"] = float(np.mean(np.divide(values, maps["float32"])))
    floats = {name: value for name, value in ms.items() if name.startswith("float32")}
    for name, value in ms.items():
        if not name.startswith("float32"):
            figures[f"speedup_{name}"] = min(floats.values()) / value
    return figures


def table(maps: dict[str, list[float]], ms: dict[str, float], title: str, rows: int) -> str:
    """Returns the Markdown page."""
    lines = [f"# {title}", "", "| index | query | bytes a row | mAP | share of float32 |", "|---|---|---|---|---|"]
    figures = figures_of(maps, ms)
    for name in maps:
        bits, _, query = name.partition("_")
        size = 512 if name == "float32" else int(bits) // 8
        spread = f"{100 * figures[f'map_{name}']:.1f} ± {100 * figures[f'std_{name}']:.1f}"
        label = "float32, 128-d" if name == "float32" else f"{bits} bits"
        query = "float32" if name == "float32" or query else f"{bits} bits"
        lines.append(f"| {label} | {query} | {size} | {spread} | {figures[f'share_{name}']:.3f} |")
    lines += ["", f"One query, {rows:,} rows, fastest call:", "", "| search | ms |", "|---|---|"]
    lines += [f"| {name} | {value:.2f} |" for name, value in sorted(ms.items(), key=lambda item: item[1])]
    return "\n".join(lines) + "\n"


def draw(maps: dict[str, list[float]], path: Path) -> None:
    """Draws mean and deviation of the mAP against the bits for both kinds of query, float32 as a line."""
    plt = drawing.pyplot()
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    for suffix, label in (("_asymmetric", "codes, searched by the embedding"), ("", "codes, Hamming distance")):
        points = 100 * np.array([maps[f"{bits}{suffix}"] for bits in BITS])
        axes.errorbar(BITS, points.mean(axis=1), points.std(axis=1), marker="o", capsize=3, label=label)
    axes.axhline(100 * float(np.mean(maps["float32"])), color="grey", linestyle="--", label="float32, 4,096 bits")
    axes.set(xlabel="bits", ylabel="mAP, points", xscale="log", xticks=BITS, xticklabels=BITS, ylim=(0, None))
    axes.minorticks_off()
    axes.legend()
    figure.savefig(path, dpi=130)
    plt.close(figure)


def main() -> None:
    """Parses the command line, measures, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", type=Path, help="folder of the grocery photos")
    parser.add_argument("--student_weights", default="imagenet", help="a .weights.h5 file, or imagenet")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--judge_on", choices=["test", "validation"], default="test")
    parser.add_argument("--rows", type=int, default=1_000_000, help="of the timed search")
    parser.add_argument("--workdir", type=Path, default=Path("runs/hashing"))
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--smoke", action="store_true", help="generated images, few steps: shows that it runs")
    arguments = parser.parse_args()
    if not arguments.smoke and arguments.data_dir is None:
        raise ArgumentError("--data_dir is needed: the folder of the images")
    with tempfile.TemporaryDirectory() as folder, quiet():
        if arguments.smoke:
            arguments.seeds, arguments.rows = 1, 2000
            arguments.workdir = arguments.results = Path(folder)
        maps = measure_quality(arguments)
        ms = measure_search(arguments.rows, Path(folder), 3 if arguments.smoke else 12)
        title = f"Binary codes, judged on the {arguments.judge_on} images, {arguments.seeds} seeds"
        page = table(maps, ms, title, arguments.rows)
        write_whole(arguments.results / "hashing.md", page)
        draw(maps, arguments.results / "hashing.png")
    print(page)
    if arguments.json:
        content = {"figures": figures_of(maps, ms), "maps": maps, "ms": ms}
        write_json(arguments.json, content)


if __name__ == "__main__":
    run_command(main)
