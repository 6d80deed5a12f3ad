"""One run of `benchmarks.methods`: the main job's own training and evaluation, on images in memory."""

import functools
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from benchmarks.methods.data import Problem
from benchmarks.methods.plan import METHODS, REFERENCES, Run
from kdistill import losses, students
from kdistill.data.pipeline import training_batches
from kdistill.evaluation import evaluate_leave_one_out
from kdistill.settings import Settings
from kdistill.stages.distilling.trainer import build_distiller, loss_of, optimizer_of
from kdistill.stages.opening.models import start_student
from kdistill.teachers import select

_MIXING = {"mixtures", "mixing", "mixing_alpha", "pairing", "renormalise"}
_JOINT = {"anchors", "rank_against", "rank_parents"}
_BANK = {"bank_size"}


class WeightedLoss(keras.losses.Loss):
    """A loss times a number; what it takes stays the same."""

    def __init__(self, loss: keras.losses.Loss, weight: float) -> None:
        """Wraps one of `kdistill.losses`."""
        super().__init__(name=loss.name, reduction="sum_over_batch_size")
        self.loss, self.weight = loss, weight
        for name in ("joint", "banks", "needs_labels"):
            setattr(self, name, getattr(loss, name, False))

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor, mask: tf.Tensor | None = None) -> tf.Tensor:
        """Returns the float32 scalar."""
        return self.weight * self.loss.call(y_true, y_pred, mask=mask)


def execute(problem: Problem, run: Run) -> dict[str, float]:
    """Trains and judges; returns the scores of `evaluate_leave_one_out`, all NaN where training diverged."""
    keras.backend.clear_session()
    judged = problem.validation if run.judged_on == "validation" else problem.test
    if run.method == "teacher":
        embeddings = judged.teacher
    elif run.method == "untouched":
        student = start_student(problem.settings.student, run.seed)
        embeddings = _embed(students.pooled_features(student), judged.pixels)
    else:
        embeddings = _embed(train(problem, run), judged.pixels)
    if not np.isfinite(embeddings).all():
        return {"map": float("nan"), "recall_at_1": float("nan")}
    return evaluate_leave_one_out(embeddings, judged.labels).as_dict()


def setups(problem: Problem) -> dict[str, str]:
    """Returns for each method and reference digits that change with whatever its runs depend on, beside the run."""
    found = {name: problem.setup(_MIXING | _JOINT | _BANK) for name in REFERENCES}
    for name, method in METHODS.items():
        loss = losses.get(method.loss)
        ignored = set() if method.mixing else set(_MIXING)
        if not method.bank:
            ignored |= _BANK
        if not loss.joint:
            ignored |= _JOINT
        # What only some methods have is named for these alone, so that finished runs of the others still count.
        special: dict[str, Any] = {"whole_gallery": True} if method.whole_gallery else {}
        if method.images_a_class > 1:
            special["images_a_class"] = method.images_a_class
        found[name] = problem.setup(ignored, loss=method.loss, options=loss.options, **special)
    return found


def settings_of(problem: Problem, run: Run) -> Settings:
    """Returns the settings under which the main job would do the same."""
    method = METHODS[run.method]
    return problem.settings.changed(
        seed=run.seed,
        query_budget=run.budget,
        loss=method.loss,
        loss_options=run.options,
        learning_rate=run.learning_rate,
        mixtures=problem.settings.joint.mixtures if method.mixing else 0,
        bank_size=_bank_size(problem.settings, run) if method.bank else 0,
    )


def _bank_size(settings: Settings, run: Run) -> int:
    size = settings.joint.bank_size
    return max(size, 2 * run.budget) if METHODS[run.method].whole_gallery else size


def chosen_images(problem: Problem, run: Run) -> np.ndarray:
    """Returns int64 [budget], positions in the pool: with the same seed a smaller budget is a prefix of a larger."""
    return select("random", run.budget, n=len(problem.pool.labels), seed=run.seed)


def train(
    problem: Problem, run: Run, watch: Callable[[keras.Model], keras.callbacks.Callback] | None = None
) -> keras.Model:
    """Returns the student, trained as the stage `distill` trains it; `watch` gives a callback for it."""
    settings = settings_of(problem, run)
    chosen = chosen_images(problem, run)
    # Where the projection starts: at principal directions behind pretrained features, as in the main job.
    student = start_student(
        settings.student,
        settings.run.seed,
        problem.pool.pixels[chosen] if settings.student.student_weights else None,
    )
    loss = loss_of(settings)
    distiller = build_distiller(settings, student, problem.pool.teacher.shape[1])
    distiller.compile(optimizer_of(settings.training), loss=WeightedLoss(loss, run.weight))
    views, rows = shared_views(problem, run.budget, run.seed, METHODS[run.method].images_a_class)
    targets: Any = problem.pool.teacher[rows]
    specs: Any = _batch_spec(targets)
    if getattr(loss, "needs_labels", False):
        # The bank tells images of one class apart by their places in the pool.
        labels = problem.pool.labels[rows]
        targets, specs = list(zip(labels, rows, strict=True)), (_batch_spec(labels), _batch_spec(rows))
    batches = tf.data.Dataset.from_generator(
        lambda: zip(views, targets, strict=True),
        output_signature=(_batch_spec(views), specs),
    )
    callbacks = [] if watch is None else [watch(student)]
    steps = settings.training.steps
    distiller.fit(batches, epochs=1, steps_per_epoch=steps, shuffle=False, verbose=0, callbacks=callbacks)
    return student


@functools.lru_cache(maxsize=1)
def shared_views(problem: Problem, budget: int, seed: int, images_a_class: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the main job's batches, kept for the next method, since all without labels see the same.

    Returns:
        uint8 [steps, B, S, S, 3], the views, and int64 [steps, B], their positions in the pool.
    """
    settings = problem.settings.changed(seed=seed)
    chosen = select("random", budget, n=len(problem.pool.labels), seed=seed)
    batches = training_batches(
        problem.sources[chosen],
        chosen,
        batch_size=settings.training.batch_size,
        image_size=settings.student.image_size,
        first_step=0,
        last_step=settings.training.steps,
        seed=settings.run.seed,
        augment=settings.training.augment,
        labels=problem.pool.labels[chosen] if images_a_class > 1 else None,
        images_a_class=images_a_class,
    )
    views, numbered = zip(*batches.as_numpy_iterator(), strict=True)
    return np.stack(views), np.stack([rows for rows, _ in numbered])


def _batch_spec(batches: np.ndarray) -> tf.TensorSpec:
    return tf.TensorSpec(batches.shape[1:], batches.dtype)


def _embed(model: keras.Model, pixels: np.ndarray) -> np.ndarray:
    return np.asarray(model.predict(pixels, batch_size=64, verbose=0))
