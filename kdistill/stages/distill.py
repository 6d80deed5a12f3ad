"""The stage `distill`: the student learns from the answers that the stage `ask` paid for."""

from collections.abc import Iterable

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from kdistill import students
from kdistill.data import ImageSet, RetrievalData
from kdistill.data.pipeline import changed_views, training_batches
from kdistill.files.whole import whole_file
from kdistill.hashing.fitting import VIEWS, fit_hash_head
from kdistill.preferences.order_batches import order_batches
from kdistill.settings import Settings
from kdistill.settings.effects import learns_orders
from kdistill.stages.answered import answered
from kdistill.stages.comparisons import readable_lists
from kdistill.stages.models import read_images, start_student
from kdistill.stages.sources import data_of
from kdistill.stages.stage import Result
from kdistill.stages.trainer import build_distiller, loss_of, optimizer_of
from kdistill.stages.workdir import Workdir
from kdistill.training.callbacks import HistoryFile, ResumableCheckpoint, RetrievalEvaluation
from kdistill.training.distribution import is_chief, lost_workers_told, strategy_of

SOURCE_MARGIN = 1.25
"""Augmented views are cropped from images this much larger than the student's input, so that a crop loses no detail."""
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
    """Returns the student after its training, from wherever that was interrupted."""
    side, strict, seed = settings.student.image_size, settings.run.strict, settings.run.small_seed
    data = data_of(settings)
    pool, targets = answered(settings, workdir, data.pool)
    # Read once at the student's own size for the start of its projection, the way it will be searched with.
    plain = read_images(pool, side, strict=strict, description="reading the pool")
    student = start_student(settings.student, seed, plain.pixels if settings.student.student_weights else None)
    if settings.student.hash_bits and settings.student.student_weights:
        _fit_codes(settings, student, data.pool)
    sources = plain
    if settings.training.augment:
        sources = read_images(pool, round(side * SOURCE_MARGIN), strict=strict, description="reading for crops")
    ordered = learns_orders(settings)
    make_batches = order_batches if ordered else training_batches
    taught = readable_lists(targets, sources.indices) if ordered else targets[sources.indices]
    steps = settings.training.steps
    epochs = min(settings.training.evaluations, steps)
    distiller = build_distiller(settings, student, targets.shape[-1])
    distiller.compile(optimizer_of(settings.training), loss=loss_of(settings))
    checkpoint = ResumableCheckpoint(distiller, workdir.checkpoints)
    done = checkpoint.restore()
    batches = make_batches(
        sources.pixels,
        taught,
        batch_size=settings.training.batch_size,
        image_size=side,
        first_step=done * (steps // epochs),
        last_step=steps,
        seed=settings.run.seed,
        augment=settings.training.augment,
    )
    distiller.fit(
        batches,
        epochs=epochs,
        initial_epoch=done,
        steps_per_epoch=steps // epochs,
        shuffle=False,
        verbose=2,
        callbacks=[HistoryFile(workdir.history, steps // epochs), checkpoint],
    )
    return student


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
