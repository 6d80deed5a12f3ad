"""Does a student that starts large and shrinks beat one that was small from the start, at the same multiply-adds?

    python -m benchmarks.compression.capacity --data_dir=DIR --weights_dir=DIR --json=FILE --table=FILE

On the Grocery Store Dataset with its expert teacher, 330 questions, everything but the student equal: the questions by
seed, the number of steps, batches, views, loss, BatchNorm frozen.

- `shrunk`: MobileNetV2 1.0 at 96 px from ImageNet weights, shrunk to 34.8 % of its multiply-adds.
- `large`: the same without shrinking, what could be reached at best.
- `width_050`: MobileNetV2 0.5 at 96 px (32.2 %) from a random start, for want of published weights at hand.
- `width_035`: MobileNetV2 0.35 at 96 px (19.6 %) from ImageNet weights.
- `width_035_128`: MobileNetV2 0.35 at 128 px (34.9 %) from ImageNet weights: the strongest of the same multiply-adds.

Settings of `shrunk` are chosen with --judged_on=validation and --choice (a seed that is not tested); the test images
judge. Each finished run is a line in --runs, so the same command continues after an interruption. The exported files of
seed 0 of `shrunk` and `large` are timed in turn, in processes of their own.

Figures: `map_METHOD` and `std_METHOD` (n - 1), `gain_METHOD` and `gain_std_METHOD` (shrunk minus METHOD by the same
seed), `share_flops`, `share_params`, `max_merge_error` (merged against unmerged outputs), `latency_ratio` (large over
shrunk, float32 TFLite, one thread).
"""

import argparse
import dataclasses
import json
import tempfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from benchmarks.compression.merge_probe import MergeProbe
from benchmarks.latency.__main__ import measure_in_turn
from benchmarks.methods.data import Problem, generated, grocery
from export.formats.tflite import export_tflite
from kdistill.compression import count_flops
from kdistill.compression.training import train_to_target
from kdistill.console.progress import progress_bar
from kdistill.data.pipeline import training_batches
from kdistill.evaluation import evaluate_leave_one_out
from kdistill.files.whole import write_json, write_whole
from kdistill.runtimes.keras_models.keras_files import load_keras_file
from kdistill.settings import Settings
from kdistill.stages.distilling.shrinking import compaction_of, recipe_of, shrinks
from kdistill.stages.distilling.trainer import build_distiller, loss_of, optimizer_of
from kdistill.stages.opening.models import start_student
from kdistill.teachers import select
from kdistill.training import fit as fitting

CHOICE_SEED = 100
METHODS: dict[str, dict[str, Any]] = {
    "shrunk": {"alpha": 1.0, "image_size": 96, "target_flops": 0.348},
    "large": {"alpha": 1.0, "image_size": 96},
    "width_050": {"alpha": 0.5, "image_size": 96},
    "width_035": {"alpha": 0.35, "image_size": 96},
    "width_035_128": {"alpha": 0.35, "image_size": 128},
}
WEIGHTS = {1.0: "mobilenet_v2_1.00_imagenet_notop.weights.h5", 0.35: "mobilenet_v2_0.35_imagenet_notop.weights.h5"}


def train(problem: Problem, settings: Settings) -> tuple[keras.Model, float]:
    """Returns the trained student, and how far its merged form was from the unmerged one (0 where nothing shrinks)."""
    chosen = select("random", settings.asking.query_budget, n=len(problem.pool.labels), seed=settings.run.seed)
    pixels, teacher = problem.pool.pixels[chosen], problem.pool.teacher[chosen]
    student = start_student(settings.student, settings.run.seed, pixels if settings.student.student_weights else None)
    if not settings.training.freeze_batch_norm:
        # MobileNetV2's own 0.999 remembers the start beyond a training as short as this.
        for layer in student.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.momentum = 0.9

    def batches(first: int, last: int) -> tf.data.Dataset:
        return training_batches(
            problem.sources[chosen],
            teacher,
            batch_size=settings.training.batch_size,
            image_size=settings.student.image_size,
            first_step=first,
            last_step=last,
            seed=settings.run.seed,
            augment=settings.training.augment,
        )

    if not shrinks(settings):
        distiller = build_distiller(settings, student, teacher.shape[1])
        distiller.compile(optimizer_of(settings.training), loss=loss_of(settings))
        steps = settings.training.steps
        fitting.train(distiller, batches, steps=steps, pauses=[], verbose=0)
        return student, 0.0
    probe = MergeProbe(pixels)
    recipe = recipe_of(settings, teacher.shape[1], batches, lambda phase: [probe] if phase == "shrinking" else [], 0)
    small = train_to_target(student, compaction_of(settings), recipe, pixels, teacher)
    return small, probe.error


def settings_of(base: Settings, method: str, seed: int, options: dict[str, Any], weights_dir: Path | None) -> Settings:
    """Returns the settings of one run; `options` are for `shrunk` alone."""
    changes = dict(METHODS[method])
    if weights_dir is None:
        changes = {name: value for name, value in changes.items() if name == "target_flops"}
        return base.changed(**changes, seed=seed)
    file = WEIGHTS.get(changes["alpha"])
    weights = str(weights_dir / file) if file else None
    if weights is None:
        # From a random start nothing can be frozen, and steps of the size that spares pretrained weights lead nowhere.
        changes |= {"freeze_batch_norm": False, "learning_rate": 1e-3}
    return base.changed(seed=seed, student_weights=weights, **changes, **(options if method == "shrunk" else {}))


def figures_of(runs: list[dict[str, Any]], seeds: int) -> dict[str, float]:
    """Returns the figures of finished runs on the test images."""
    maps: dict[str, dict[int, float]] = {}
    for run in runs:
        if run["judged_on"] == "test" and run["seed"] < seeds:
            maps.setdefault(run["method"], {})[run["seed"]] = run["map"]
    figures: dict[str, float] = {}
    for method, by_seed in maps.items():
        values = list(by_seed.values())
        figures[f"map_{method}"], figures[f"std_{method}"] = float(np.mean(values)), _deviation(values)
        pairs = [maps["shrunk"][seed] - value for seed, value in by_seed.items() if seed in maps.get("shrunk", {})]
        if method != "shrunk" and pairs:
            figures[f"gain_{method}"], figures[f"gain_std_{method}"] = float(np.mean(pairs)), _deviation(pairs)
    whole = next((run for run in runs if run["method"] == "large"), None)
    shrunk = [run for run in runs if run["method"] == "shrunk" and run["judged_on"] == "test"]
    if whole and shrunk:
        figures["share_flops"] = max(run["flops"] for run in shrunk) / whole["flops"]
        figures["share_params"] = max(run["params"] for run in shrunk) / whole["params"]
    if shrunk:
        figures["max_merge_error"] = max(run["merge_error"] for run in shrunk)
    return figures


def markdown(figures: dict[str, float], runs: list[dict[str, Any]]) -> str:
    """Returns a table, a row for each method with a figure."""
    lines = ["| student | multiply-adds | parameters | mAP on test | shrunk minus this |", "|---|---:|---:|---:|---:|"]
    for method in METHODS:
        if f"map_{method}" not in figures:
            continue
        run = next(run for run in runs if run["method"] == method)
        gain = "–"
        if f"gain_{method}" in figures:
            gain = f"{100 * figures[f'gain_{method}']:+.1f} ± {100 * figures[f'gain_std_{method}']:.1f}"
        lines.append(
            f"| {method} | {run['flops'] / 1e6:.1f} M | {run['params'] / 1e6:.2f} M "
            f"| {100 * figures[f'map_{method}']:.1f} ± {100 * figures[f'std_{method}']:.1f} | {gain} |"
        )
    return "\n".join(lines) + "\n"


def _deviation(values: list[float]) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


def _latency(folder: Path, pixels: np.ndarray, rounds: int) -> float | None:
    files = []
    for name in ("large", "shrunk"):
        if not (folder / f"{name}.keras").exists():
            return None
        student = load_keras_file(folder / f"{name}.keras")
        export_tflite(student, folder / f"{name}.tflite")
        files.append(folder / f"{name}.tflite")
    rows = measure_in_turn(files, pixels[:8], num_threads=1, num_runs=50, warmup_runs=5, rounds=rounds)
    return rows[0]["latency_ms_median"] / rows[1]["latency_ms_median"]


def main() -> None:
    """Parses the command line, runs what is left, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", type=Path, help="the data set's folder")
    parser.add_argument("--weights_dir", type=Path, help="folder of the two .weights.h5 files of MobileNetV2")
    parser.add_argument("--workdir", type=Path, default=Path("runs/capacity"), help="decoded images, runs, students")
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--choice", action="store_true", help="judge one run of a seed of its own on validation images")
    parser.add_argument(
        "--option", action="append", default=[], help="setting=value of shrunk, such as shrink_until=0.5"
    )
    parser.add_argument("--json", type=Path, help="file to write the result to")
    parser.add_argument("--table", type=Path, help="file to write the table to (.md)")
    parser.add_argument("--smoke", action="store_true", help="generated images, a few steps: shows that it runs")
    arguments = parser.parse_args()
    if arguments.smoke:
        arguments.methods, arguments.seeds = "shrunk,large", 1
        with tempfile.TemporaryDirectory() as folder:
            arguments.workdir = Path(folder)
            _benchmark(arguments)
        return
    if arguments.data_dir is None or arguments.weights_dir is None:
        parser.error("--data_dir and --weights_dir are needed")
    _benchmark(arguments)


def _benchmark(arguments: argparse.Namespace) -> None:
    options = {name: json.loads(value) for name, _, value in (text.partition("=") for text in arguments.option)}
    file = arguments.workdir / "runs.jsonl"
    arguments.workdir.mkdir(parents=True, exist_ok=True)
    runs = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    judged_on, seeds = ("validation", [CHOICE_SEED]) if arguments.choice else ("test", list(range(arguments.seeds)))
    problems: dict[int, Problem] = {}
    pixels = None
    for seed, method in progress_bar(
        [(seed, method) for seed in seeds for method in arguments.methods.split(",")], description="runs", unit="run"
    ):
        own = options if method == "shrunk" else {}
        key = {"method": method, "seed": seed, "judged_on": judged_on, "steps": arguments.steps, "options": own}
        if any(run.items() >= key.items() for run in runs):
            continue
        size = METHODS[method]["image_size"]
        if size not in problems:
            problems[size] = _problem(arguments, size)
        problem = problems[size]
        settings = settings_of(problem.settings, method, seed, own, arguments.weights_dir)
        keras.backend.clear_session()
        student, error = train(problem, settings)
        part = problem.validation if arguments.choice else problem.test
        embeddings = np.asarray(student.predict(part.pixels, batch_size=64, verbose=0))
        cost = {"flops": count_flops(student), "params": student.count_params(), "merge_error": error}
        run = {**key, "map": evaluate_leave_one_out(embeddings, part.labels).map, **cost}
        runs.append(run)
        with file.open("a") as lines:
            lines.write(json.dumps(run) + "\n")
        if seed == 0:
            student.save(arguments.workdir / f"{method}.keras")
        pixels = problem.test.pixels if method == "shrunk" else pixels
    wanted = [run for run in runs if run["steps"] == arguments.steps]
    wanted = [run for run in wanted if run["method"] != "shrunk" or run["options"] == options]
    figures = figures_of(wanted, arguments.seeds)
    if not arguments.choice:
        if pixels is None:
            pixels = _problem(arguments, METHODS["shrunk"]["image_size"]).test.pixels
        ratio = _latency(arguments.workdir, pixels, rounds=1 if arguments.smoke else 5)
        figures |= {} if ratio is None else {"latency_ratio": ratio}
    print(json.dumps(figures or [run for run in wanted if run["judged_on"] == judged_on], indent=2))
    if arguments.json:
        write_json(arguments.json, {"figures": figures, "runs": wanted})
    if arguments.table:
        write_whole(arguments.table, markdown(figures, wanted))


def _problem(arguments: argparse.Namespace, size: int) -> Problem:
    if arguments.smoke:
        problem = generated()
        settings = problem.settings.changed(steps=6, query_budget=16)
        return dataclasses.replace(problem, settings=settings)
    cache = arguments.workdir / "images"
    problem = grocery(arguments.data_dir, None, cache, image_size=size, steps=arguments.steps)
    settings = problem.settings.changed(query_budget=330, learning_rate=2e-4, evaluations=10)
    return dataclasses.replace(problem, settings=settings)


if __name__ == "__main__":
    main()
