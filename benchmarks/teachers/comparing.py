"""What the benchmarks of teachers that compare share: data, the ranker's features, runs, results."""

import argparse
import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from benchmarks.methods.data import Problem, generated, grocery
from benchmarks.teachers.comparing_results import FIELDS, matches, read_rows, write_rows
from kdistill import students
from kdistill.console.progress import progress_bar
from kdistill.data import load_pixels
from kdistill.data.layouts.lists import read_list
from kdistill.data.pipeline import training_batches
from kdistill.errors import ArgumentError
from kdistill.evaluation import evaluate_leave_one_out
from kdistill.files.whole import whole_file
from kdistill.preferences.losses import ListMLEOfOrders
from kdistill.preferences.order_batches import order_batches
from kdistill.settings import Settings
from kdistill.stages.distilling.trainer import build_distiller, loss_of, optimizer_of
from kdistill.stages.opening.models import start_student


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A problem and the ranker's features of its images.

    Attributes:
        problem: images, student, settings.
        features: float32 [n, C], L2-normalised, of the pool.
        validation_features: float32 [v, C], of the validation images, to judge a ranker by itself.
    """

    problem: Problem
    features: np.ndarray
    validation_features: np.ndarray


def smoke() -> Comparison:
    """Returns a comparison over generated images, two steps a run; pixels play the features."""
    problem = generated()

    def flat(pixels: np.ndarray) -> np.ndarray:
        rows = pixels.reshape(len(pixels), -1).astype(np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    return Comparison(problem, flat(problem.pool.pixels), flat(problem.validation.pixels))


def parser_of(doc: str | None, arms: Sequence[str], results: str) -> argparse.ArgumentParser:
    """Returns a parser of the options that both benchmarks take.

    Args:
        doc: the command's docstring.
        arms: what is compared, all by default.
        results: where finished runs stand by default (.csv).
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", type=Path, help="the folder that the lists and teacher_expert.npz lie in")
    parser.add_argument("--weights", default="imagenet", help="of MobileNetV2 0.35, the student's start")
    parser.add_argument("--ranker_weights", default="imagenet", help="of the ranker's MobileNetV2")
    parser.add_argument("--ranker_alpha", type=float, default=1.0, help="width of the ranker's MobileNetV2")
    parser.add_argument("--ranker_image_size", type=int, default=224)
    parser.add_argument("--cache", type=Path, default=Path("runs/comparing"), help="for decoded images and features")
    parser.add_argument("--arms", default=",".join(arms))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--judged_on", choices=("validation", "test"), default="test")
    parser.add_argument("--csv", type=Path, default=Path(results))
    parser.add_argument("--json", type=Path, help="file to write the result to")
    parser.add_argument("--smoke", action="store_true", help="generated images, two steps: shows that it runs")
    return parser


def comparison_of(arguments: argparse.Namespace) -> Comparison:
    """Returns the comparison that options of `parser_of` ask for.

    Raises:
        ArgumentError: no folder of photos, and no --smoke.
    """
    if arguments.smoke:
        return smoke()
    if arguments.data_dir is None:
        raise ArgumentError("--data_dir is needed: the folder of the images")
    return of_grocery(
        arguments.data_dir,
        arguments.weights,
        arguments.ranker_weights,
        arguments.cache,
        alpha=arguments.ranker_alpha,
        image_size=arguments.ranker_image_size,
        steps=arguments.steps,
    )


def of_grocery(
    data_dir: Path, weights: str, ranker_weights: str, cache: Path, *, alpha: float, image_size: int, steps: int
) -> Comparison:
    """Returns the grocery problem with features of MobileNetV2 of that width at that input side in pixels.

    Args:
        data_dir: as `methods_data.grocery` takes it.
        weights: of the student's backbone.
        ranker_weights: of the ranker's backbone.
        cache: folder for decoded images and features.
        alpha: width of the ranker's backbone.
        image_size: of the ranker's input.
        steps: of a student's training.
    """
    problem = grocery(data_dir, weights, cache, image_size=None, steps=steps)
    settings = problem.settings.changed(learning_rate=2e-4)
    problem = dataclasses.replace(problem, settings=settings)
    file = cache / f"features-{alpha:g}-{image_size}.npz"
    if not file.exists():
        backbone = students.build(
            "mobilenet_v2", alpha=alpha, image_size=image_size, embedding_dim=None, weights=ranker_weights
        )
        found = {}
        for role in ("pool", "val"):
            images = read_list(data_dir, f"{role}.txt", labelled=role == "val")
            pixels = load_pixels(images, image_size, strict=True, description=f"reading {role}").pixels
            found[role] = backbone.predict(pixels, batch_size=32, verbose=0)
        with whole_file(file) as temporary:
            np.savez(temporary, **found)
    with np.load(file, allow_pickle=False) as kept:
        return Comparison(problem, kept["pool"], kept["val"])


def train_on_vectors(problem: Problem, rows: np.ndarray, targets: np.ndarray, seed: int) -> keras.Model:
    """Returns a student trained as the stage `distill` trains it, on vectors [n, D] of the pool's rows (int [n])."""
    settings = problem.settings.changed(seed=seed)
    student = _student(problem, settings, rows)
    distiller = build_distiller(settings, student, targets.shape[1])
    distiller.compile(optimizer_of(settings.training), loss=loss_of(settings))
    batches = training_batches(
        problem.sources[rows], targets.astype(np.float32), **_schedule(settings), augment=settings.training.augment
    )
    distiller.fit(batches, epochs=1, steps_per_epoch=settings.training.steps, shuffle=False, verbose=0)
    return student


def train_on_orders(
    problem: Problem,
    lists: np.ndarray,
    seed: int,
    *,
    learning_rate: float,
    temperature: float,
    lists_a_batch: int,
) -> keras.Model:
    """Returns a student trained by ListMLE on the orders alone: lists int [m, 1 + k], rows of the pool."""
    settings = problem.settings.changed(seed=seed, mixtures=0, learning_rate=learning_rate)
    student = _student(problem, settings, np.unique(lists))
    distiller = build_distiller(settings, student, 1)
    distiller.compile(optimizer_of(settings.training), loss=ListMLEOfOrders(temperature))
    batches = order_batches(
        problem.sources, lists, **_schedule(settings), augment=settings.training.augment, lists_a_batch=lists_a_batch
    )
    distiller.fit(batches, epochs=1, steps_per_epoch=settings.training.steps, shuffle=False, verbose=0)
    return student


def _student(problem: Problem, settings: Settings, rows: np.ndarray) -> keras.Model:
    keras.backend.clear_session()
    return start_student(
        settings.student, settings.run.seed, problem.pool.pixels[rows] if settings.student.student_weights else None
    )


def _schedule(settings: Settings) -> dict[str, Any]:
    return {
        "batch_size": settings.training.batch_size,
        "image_size": settings.student.image_size,
        "first_step": 0,
        "last_step": settings.training.steps,
        "seed": settings.run.seed,
    }


def judged(problem: Problem, student: keras.Model, judged_on: str) -> dict[str, float]:
    """Returns the scores of a student on the `validation` or `test` images, leave-one-out."""
    part = problem.validation if judged_on == "validation" else problem.test
    embeddings = np.asarray(student.predict(part.pixels, batch_size=64, verbose=0))
    return evaluate_leave_one_out(embeddings, part.labels).as_dict()


def run_all(
    path: Path, setup: str, judged_on: str, arms: dict[str, Callable[[int], keras.Model]], seeds: int, problem: Problem
) -> dict[str, list[float]]:
    """Trains and judges each arm with each seed, unless the CSV file has it; returns the mAP of each arm by seed.

    Args:
        path: CSV file with the columns FIELDS; lines of another setup stay and count nothing.
        setup: digits that change with whatever the runs depend on beside arm and seed.
        judged_on: "validation" or "test".
        arms: name -> function of the seed that returns a trained student.
        seeds: 0 .. seeds - 1.
        problem: to judge on.
    """
    rows = read_rows(path)
    done = {(row["arm"], int(row["seed"])): float(row["map"]) for row in rows if matches(row, setup, judged_on)}
    work = [(arm, seed) for seed in range(seeds) for arm in arms if (arm, seed) not in done]
    for arm, seed in progress_bar(work, description="runs", unit="run"):
        started = time.monotonic()
        scores = judged(problem, arms[arm](seed), judged_on)
        done[arm, seed] = scores["map"]
        values = (f"{scores['map']:.6f}", f"{scores['recall_at_1']:.6f}", f"{time.monotonic() - started:.1f}")
        rows.append(dict(zip(FIELDS, (setup, arm, judged_on, str(seed), *values), strict=True)))
        write_rows(path, rows)
    return {arm: [done[arm, seed] for seed in range(seeds)] for arm in arms}
