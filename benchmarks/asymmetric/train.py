"""One run of `benchmarks.asymmetric`: the library's own trainer, assistant and space, on images in memory."""

import dataclasses
import json
import zlib
from pathlib import Path
from typing import Any

import keras
import numpy as np

from benchmarks.asymmetric.arenas import Scene, unit
from benchmarks.asymmetric.plan import METHODS, UNTRAINED, Run, Sizes
from benchmarks.asymmetric.rivals import SSP, ContrastiveAML
from benchmarks.methods.train import WeightedLoss
from kdistill import losses, students
from kdistill.assistant import Assistant
from kdistill.assistant.assistant import answering
from kdistill.data.pipeline import training_batches
from kdistill.evaluation import evaluate_leave_one_out
from kdistill.files.whole import whole_file
from kdistill.losses.across_spaces import AcrossSpaces
from kdistill.settings import Settings
from kdistill.settings.loss_options import parse_loss_options
from kdistill.space.maps import MAPS
from kdistill.space.projection import Projection, fit_projection
from kdistill.space.ridge import fit_ridge
from kdistill.space.turning import query_turn, turn_queries
from kdistill.stages.distilling.trainer import build_distiller, optimizer_of
from kdistill.stages.opening.models import start_student
from kdistill.teachers import select

TURN = Settings.of().space.query_turn
_TURNED = ("across", "across_unmixed", "ridge_turned", "regression_turned")
"""What ours is turned by, and the methods that are; the rivals are as they were published."""


@dataclasses.dataclass(frozen=True)
class Lesson:
    """What a student learns from.

    Attributes:
        rows: int64 [n], images of the pool.
        targets: float32 [n, D], their vectors in the space, the teacher's own where it answered.
        known: float32 [K, D], what is known in it.
        projection: from the teacher's vectors.
    """

    rows: np.ndarray
    targets: np.ndarray
    known: np.ndarray
    projection: Projection


def execute(scene: Scene, run: Run, folder: Path, sizes: Sizes) -> dict[str, dict[str, float]]:
    """Trains and judges; returns search -> the scores of `evaluate_leave_one_out`, NaN where training diverged.

    Args:
        scene: photos and teacher of the run.
        run: what to do; all its searches are judged.
        folder: keeps the assistants' answers, so that each assistant is trained once.
        sizes: how long is trained.
    """
    keras.backend.clear_session()
    problem = scene.arena.problem
    part = problem.validation if run.judged_on == "validation" else problem.test
    lesson = lesson_of(scene, run, folder, sizes)
    embeddings = _embeddings(scene, run, lesson, sizes, part.pixels)
    if METHODS[run.method].kind == "own":
        return {"symmetric": _scores(embeddings, embeddings, part.labels)}
    teacher = lesson.projection.transform(part.teacher)
    pairs = {"asymmetric": (embeddings, teacher), "symmetric": (embeddings,) * 2, "reverse": (teacher, embeddings)}
    return {search: _scores(queries, gallery, part.labels) for search, (queries, gallery) in pairs.items()}


def lesson_of(scene: Scene, run: Run, folder: Path, sizes: Sizes) -> Lesson:
    """Returns the images, targets and known vectors of a run; behind an assistant all images of the pool."""
    problem = scene.arena.problem
    chosen = select("random", min(run.budget, len(problem.pool.labels)), n=len(problem.pool.labels), seed=run.seed)
    answers = unit(problem.pool.teacher[chosen])
    known = scene.table if run.table else answers
    projection = fit_projection(known, run.dimension)
    within = projection.transform(answers)
    known = projection.transform(known)
    if not run.assistant:
        return Lesson(chosen, within, known, projection)
    targets = _assistant_answers(scene, run, chosen, within, known, folder, sizes)
    targets[chosen] = within
    return Lesson(np.arange(len(targets)), targets, known, projection)


def _assistant_answers(
    scene: Scene, run: Run, chosen: np.ndarray, answers: np.ndarray, known: np.ndarray, folder: Path, sizes: Sizes
) -> np.ndarray:
    """Returns float32 [pool, D], what an assistant in the teacher's space says of every image; kept in `folder`."""
    arena, steps = scene.arena, sizes.assistant_steps
    named = [run.teacher, run.budget, run.seed, run.table, run.dimension, steps, len(known)]
    file = folder / f"assistant-{zlib.crc32(json.dumps(named).encode()):08x}.npz"
    if not file.exists():
        keras.utils.set_random_seed(run.seed)
        assistant = Assistant.of(
            arena.network, image_size=arena.image_size, weights=arena.weights, embedding_dim=answers.shape[1]
        )
        settings = _settings(scene, run, sizes, answers.shape[1]).changed(own_weight=0.0)
        assistant.learn(
            arena.sources[chosen],
            answers,
            steps=steps,
            seed=run.seed,
            distiller=build_distiller(settings, assistant.network, answers.shape[1]),
            loss=AcrossSpaces(losses.get("softmax_ranking"), known),
            own_space=True,
        )
        with whole_file(file) as temporary:
            np.savez(temporary, answers=answering(assistant.network)(arena.sources))
    with np.load(file, allow_pickle=False) as kept:
        return np.array(kept["answers"])


def _embeddings(scene: Scene, run: Run, lesson: Lesson, sizes: Sizes, pixels: np.ndarray) -> np.ndarray:
    """Returns the student's embeddings float32 [n, D] of images at its own size."""
    problem, kind = scene.arena.problem, METHODS[run.method].kind
    dimension = problem.settings.student.embedding_dim if kind == "own" else lesson.targets.shape[1]
    settings = _settings(scene, run, sizes, dimension)
    student = start_student(settings.student, run.seed, problem.pool.pixels if kind == "own" else None)
    if run.method == "random_head":
        return _embed(student, pixels)
    features = students.pooled_features(student)
    if kind == "head":
        fitted = MAPS[run.method](_embed(features, problem.pool.pixels[lesson.rows]), lesson.targets)
        return fitted(_embed(features, pixels))
    if kind != "own":
        start = fit_ridge(_embed(features, problem.pool.pixels[lesson.rows]), lesson.targets)
        student.get_layer("projection").set_weights([start])
    if run.method not in UNTRAINED:
        _train(scene, run, settings, student, lesson)
    if run.method in _TURNED:
        turn_queries(student, query_turn(lesson.known, TURN))
    return _embed(student, pixels)


def _train(scene: Scene, run: Run, settings: Settings, student: keras.Model, lesson: Lesson) -> None:
    arena = scene.arena
    loss, settings = _loss(run, settings, lesson)
    distiller = build_distiller(settings, student, lesson.targets.shape[1])
    distiller.compile(optimizer_of(settings.training), loss=loss)
    batches = training_batches(
        arena.problem.sources[lesson.rows],
        lesson.targets,
        batch_size=settings.training.batch_size,
        image_size=settings.student.image_size,
        first_step=0,
        last_step=settings.training.steps,
        seed=run.seed,
        augment=settings.training.augment,
    )
    distiller.fit(batches, epochs=1, steps_per_epoch=settings.training.steps, shuffle=False, verbose=0)


def _loss(run: Run, settings: Settings, lesson: Lesson) -> tuple[keras.losses.Loss, Settings]:
    """Returns the loss of a method, and the settings of the joint space that it takes."""
    options: dict[str, Any] = parse_loss_options(run.strength)
    name = run.method.partition("_")[0]
    if name == "across":
        own = float(options.pop("own", 0.0))
        loss = AcrossSpaces(losses.get("softmax_ranking"), lesson.known, own=own)
        mixtures = 0 if run.method == "across_unmixed" else settings.joint.mixtures
        return loss, settings.changed(own_weight=own, mixtures=mixtures)
    if name == "own":
        return losses.get("softmax_ranking", **options), settings.changed(space="own")
    if name == "csd":
        # The trainer gives no mixtures to a loss of the batch, and what is known stands in the loss.
        across = AcrossSpaces(losses.get("csd", **options), lesson.known, pointwise=0.0)
        return across, settings.changed(loss="csd", bank_size=0, mixtures=0)
    if name in ("aml", "ssp"):
        kind: Any = ContrastiveAML if name == "aml" else SSP
        return kind(lesson.known, **options), settings.changed(loss="regression")
    weight = float(options.pop("weight", 1.0))
    return WeightedLoss(losses.get(name, **options), weight), settings.changed(loss=name)


def _settings(scene: Scene, run: Run, sizes: Sizes, dimension: int) -> Settings:
    return scene.arena.problem.settings.changed(
        seed=run.seed,
        steps=sizes.steps,
        learning_rate=run.learning_rate or 1e-3,
        embedding_dim=dimension,
        space="teacher",
    )


def _embed(model: keras.Model, pixels: np.ndarray) -> np.ndarray:
    return np.asarray(model.predict(pixels, batch_size=64, verbose=0))


def _scores(queries: np.ndarray, gallery: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    if not (np.isfinite(queries).all() and np.isfinite(gallery).all()):
        return {"map": float("nan"), "recall_at_1": float("nan")}
    return evaluate_leave_one_out(gallery, labels, queries=queries).as_dict()
