"""The stage `distill`: the student learns from the answers that the stage `ask` paid for."""

import contextlib
import shutil
from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from kdistill import students
from kdistill.data import ImageSet, RetrievalData
from kdistill.data.pipeline import changed_views, rows_of_step, training_batches
from kdistill.files import made_from
from kdistill.files.whole import whole_file
from kdistill.hashing.fitting import VIEWS, fit_hash_head
from kdistill.preferences.order_batches import order_batches
from kdistill.settings import Settings
from kdistill.settings.effects import learns_orders
from kdistill.stages.callbacks import RunContext, make_callbacks
from kdistill.stages.distilling.answered import answered, readable_lists
from kdistill.stages.distilling.shrinking import shrink, shrinks
from kdistill.stages.distilling.trainer import build_distiller, loss_of, optimizer_of
from kdistill.stages.identity import training_identity
from kdistill.stages.library import DISTILL
from kdistill.stages.models import SOURCE_MARGIN, read_images, start_student
from kdistill.stages.sources import data_of
from kdistill.stages.stage import Result
from kdistill.stages.workdir import Workdir
from kdistill.training.callbacks import CallbackStates, HistoryFile, ResumableCheckpoint, RetrievalEvaluation, StopOnNaN
from kdistill.training.distribution import copy_of, is_chief, lost_workers_told, strategy_of
from kdistill.training.fit import pause_steps, train

MOST_FITTED = 8192
"""Images of the pool that a hash head is fitted to, at most; they stand in memory."""


def distill(settings: Settings, workdir: Workdir) -> Result:
    """Trains the student and writes `student.keras`; continues from the last checkpoint after an interruption.

    Under --strategy=multiworker all workers call it, and only the chief writes.

    Raises:
        ArgumentError: settings that contradict each other.
        WorkerLost: another worker is gone.
        KdistillError: no answers, damaged checkpoints, a loss that is not finite.
    """
    tf.config.experimental.enable_op_determinism()
    strategy = strategy_of(settings.training.strategy)
    with lost_workers_told(strategy):
        student = _trained(settings, workdir, strategy)
    if is_chief(strategy):
        with whole_file(workdir.student) as temporary:
            student.save(temporary)
        dimension = students.embedding_dim(student)
        logging.info("wrote %s: %d parameters, %d-d", workdir.student, student.count_params(), dimension)
    return Result(made=[workdir.student, workdir.history])


def _trained(settings: Settings, workdir: Workdir, strategy: tf.distribute.Strategy | None) -> keras.Model:
    """Returns the student after its training, which goes on from wherever it was interrupted."""
    training, side, strict = settings.training, settings.student.image_size, settings.run.strict
    data = data_of(settings)
    learned = answered(settings, workdir, data.pool)
    pool, targets = learned.images, learned.targets
    # Read once at the student's own size for the start of its projection, the way it will be searched with.
    plain = read_images(pool, side, strict=strict, description="reading the pool")
    pixels = plain.pixels if settings.student.student_weights else None
    student = start_student(settings.student, settings.run.small_seed, pixels)
    if settings.student.hash_bits and settings.student.student_weights:
        _fit_codes(settings, student, data.pool)
    sources = plain
    if training.augment:
        sources = read_images(pool, round(side * SOURCE_MARGIN), strict=strict, description="reading for crops")
    ordered = learns_orders(settings)
    taught = readable_lists(targets, sources.indices) if ordered else targets[sources.indices]
    identity = training_identity(DISTILL.deciding(settings), student, sources.pixels, taught)
    watch, chief = _watch(settings, data), is_chief(strategy)
    if chief and workdir.checkpoints.exists() and not workdir.history.exists():
        logging.info("%s is gone; training starts anew, so that it is written again", workdir.history)
        shutil.rmtree(workdir.checkpoints)

    def ids_of(step: int) -> list[str]:
        rows = rows_of_step(len(sources.indices), training.batch_size, step, settings.run.seed)
        return [pool.ids[sources.indices[row]] for row in rows]

    def callbacks(part: str = "") -> list[keras.callbacks.Callback]:
        logs = workdir.logs / part
        context = RunContext("distill", part, settings, workdir.path, training.steps, chief, workdir.figures)
        own = make_callbacks(context)
        states = [CallbackStates(own, workdir.checkpoints / part, keep=chief)] if own else []
        recorders: list[keras.callbacks.Callback] = []
        if chief:
            made_from.claim(logs, identity, ours=("train", "validation"))
            recorders.append(HistoryFile(workdir.history, identity=identity))
            recorders.append(keras.callbacks.TensorBoard(str(logs), write_graph=False))
        return [StopOnNaN(ids_of=None if ordered else ids_of), *([watch] if watch else []), *own, *states, *recorders]

    def batches(first: int, last: int, **parts: Any) -> tf.data.Dataset:
        make_batches = order_batches if ordered else training_batches
        return make_batches(
            sources.pixels,
            taught,
            batch_size=training.batch_size,
            image_size=side,
            first_step=first,
            last_step=last,
            seed=settings.run.seed,
            augment=training.augment,
            **parts,
        )

    pauses = pause_steps(training.steps, training.evaluations)
    if shrinks(settings):
        return shrink(settings, student, plain.pixels, targets[plain.indices], batches, callbacks, workdir, identity)
    with strategy.scope() if strategy else contextlib.nullcontext():
        if strategy:
            # Its variables must belong to the strategy, which would also distribute the start's forward passes.
            student = copy_of(student, synchronised=training.joint_space == "global")
        distiller = build_distiller(settings, student, targets.shape[-1])
        if strategy:
            distiller.build_joint_space(targets.shape[-1])
        distiller.compile(optimizer_of(training), loss=loss_of(settings, learned.assistant_dim))
        checkpoint = ResumableCheckpoint(distiller, workdir.checkpoints, identity, keep=chief)
    train(
        distiller,
        batches,
        steps=training.steps,
        pauses=pauses,
        callbacks=callbacks(),
        checkpoint=checkpoint,
        strategy=strategy,
    )
    # All workers copy, since reading a variable may need all of them.
    return copy_of(student, synchronised=False) if strategy else student


def _fit_codes(settings: Settings, student: keras.Model, pool: ImageSet) -> None:
    """Fits the hash head to images of the pool, asked about or not."""
    side, strict = settings.student.image_size, settings.run.strict
    chosen = np.random.default_rng(settings.run.seed).permutation(len(pool))[:MOST_FITTED]
    pool = pool.subset(np.sort(chosen).tolist())
    plain = read_images(pool, side, strict=strict, description="reading the whole pool")
    views: Iterable[np.ndarray] = [plain.pixels]
    if settings.training.augment:
        larger = read_images(pool, round(side * SOURCE_MARGIN), strict=strict, description="reading it for crops")
        views = changed_views(larger.pixels, side, VIEWS, seed=settings.run.seed)
    fit_hash_head(student, plain.pixels, views, seed=settings.run.seed)


def _watch(settings: Settings, data: RetrievalData) -> RetrievalEvaluation | None:
    """Returns the callback that evaluates on the validation images; None without any."""
    if data.validation is None:
        return None
    side, strict = settings.student.image_size, settings.run.strict
    validation = read_images(data.validation, side, strict=strict, description="reading validation")
    return RetrievalEvaluation(validation.pixels, np.asarray(data.validation.labels)[validation.indices])
