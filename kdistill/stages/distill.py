"""The stage `distill`: the student learns from the answers that the stage `ask` paid for."""

import contextlib
import json
from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from kdistill import losses, students
from kdistill.data import ImageSet, RetrievalData
from kdistill.data.pipeline import changed_views, rows_of_step, training_batches
from kdistill.errors import ArgumentError, KdistillError
from kdistill.files.whole import whole_file
from kdistill.hashing.distiller import HashDistiller
from kdistill.hashing.fitting import VIEWS, fit_hash_head
from kdistill.layers import EmbeddingBank, JointSpaceInterpolation
from kdistill.preferences.losses import ListMLEOfOrders
from kdistill.preferences.order_batches import order_batches
from kdistill.settings.settings import Settings
from kdistill.stages.changes import unchanged_rows
from kdistill.stages.common import data_of, read_images, start_student
from kdistill.stages.compact import compacts, train_to_target
from kdistill.stages.comparisons import compares, learns_orders, ordered_lists, ranked_pool, readable_lists
from kdistill.stages.workdir import Workdir
from kdistill.teachers.whitening import fit_whitening
from kdistill.training import optimizers
from kdistill.training.callbacks import HistoryFile, ResumableCheckpoint, RetrievalEvaluation, StopOnNaN
from kdistill.training.distiller import Distiller
from kdistill.training.distributed_fit import distributed_batches, distributed_fit
from kdistill.training.distribution import copy_of, everyone_says, is_chief, lost_workers_told, strategy_of

SOURCE_MARGIN = 1.25
"""Augmented views are cropped from images this much larger than the student's input, so that a crop loses no detail."""
MOST_FITTED = 8192
"""Images of the pool that a hash head is fitted to, at most; they stand in memory."""


def distill(settings: Settings, workdir: Workdir) -> None:
    """Trains the student and writes `student.keras`; continues from the last checkpoint after an interruption.

    Under --strategy=multiworker all workers call it, and only the chief writes.

    Raises:
        ArgumentError: settings that contradict each other.
        WorkerLost: another worker is gone.
        KdistillError: no answers, damaged checkpoints, a loss that is not finite.
    """
    tf.config.experimental.enable_op_determinism()
    strategy = strategy_of(settings.strategy)
    with lost_workers_told(strategy):
        _distill(settings, workdir, strategy)


def _distill(settings: Settings, workdir: Workdir, strategy: tf.distribute.Strategy | None) -> None:
    data = data_of(settings)
    pool, targets = _answered(settings, workdir, data.pool)
    # Read once at the student's own size for the start of its projection, the way it will be searched with.
    start = read_images(pool, settings.image_size, settings, "reading the pool")
    student = start_student(settings, start.pixels if settings.student_weights else None)
    if settings.hash_bits and settings.student_weights:
        _fit_codes(settings, student, data.pool)
    plain = start
    if settings.augment:
        start = read_images(pool, round(settings.image_size * SOURCE_MARGIN), settings, "reading for crops")
    ordered = learns_orders(settings)
    make_batches = order_batches if ordered else training_batches
    taught = readable_lists(targets, start.indices) if ordered else targets[start.indices]

    if strategy and (ordered or compacts(settings)):
        raise ArgumentError("training from orders and compaction run in one process; leave out --strategy")
    if compacts(settings):
        train_to_target(settings, workdir, student, plain, start, targets, _watch(settings, data))
        return
    epochs = min(settings.evaluations, settings.steps)
    steps_per_epoch = -(-settings.steps // epochs)
    total = epochs * steps_per_epoch
    chief = is_chief(strategy)
    with strategy.scope() if strategy else contextlib.nullcontext():
        if strategy:
            # Its variables must belong to the strategy, which would also distribute the start's forward passes.
            student = copy_of(student, synchronised=settings.joint_space == "global")
        distiller = build_distiller(settings, student, targets.shape[-1])
        if strategy:
            distiller.build_joint_space(targets.shape[-1])
        distiller.compile(optimizer_of(settings, total), loss=loss_of(settings))
        checkpoint = ResumableCheckpoint(distiller, workdir.checkpoints, keep=chief)
    done = checkpoint.restore()
    if strategy and len(set(everyone_says(strategy, done))) > 1:
        raise KdistillError(
            f"the workers found different checkpoints in {str(workdir.checkpoints)!r}; "
            "--workdir must be a folder that all of them share"
        )
    if done:
        logging.info("continuing after %d of %d steps", done * steps_per_epoch, total)

    def ids_of(step: int) -> list[str]:
        rows = rows_of_step(len(start.indices), settings.batch_size, step, settings.seed)
        return [pool.ids[start.indices[row]] for row in rows]

    callbacks: list[keras.callbacks.Callback] = [StopOnNaN(steps_per_epoch, None if ordered else ids_of)]
    watch = _watch(settings, data)
    if watch is not None:
        callbacks.append(watch)
    if chief:
        callbacks.append(HistoryFile(workdir.history, steps_per_epoch))
        callbacks.append(keras.callbacks.TensorBoard(str(workdir.logs), write_graph=False))
    callbacks.append(checkpoint)

    def batches(replicas: int = 1, part: range = range(1)) -> tf.data.Dataset:
        parts: dict[str, Any] = {"replicas": replicas, "part": part} if strategy else {}
        return make_batches(
            start.pixels,
            taught,
            batch_size=settings.batch_size,
            image_size=settings.image_size,
            first_step=done * steps_per_epoch,
            last_step=total,
            seed=settings.seed,
            augment=settings.augment,
            **parts,
        )

    if strategy and done < epochs:
        distributed_fit(
            distiller,
            distributed_batches(strategy, batches),
            strategy=strategy,
            epochs=epochs,
            initial_epoch=done,
            steps_per_epoch=steps_per_epoch,
            callbacks=callbacks,
        )
    elif done < epochs:
        distiller.fit(
            batches(),
            epochs=epochs,
            initial_epoch=done,
            steps_per_epoch=steps_per_epoch,
            callbacks=callbacks,
            shuffle=False,
            verbose=2,
        )
    if strategy:
        # All workers copy, since reading a variable may need all of them.
        student = copy_of(student, synchronised=False)
    if chief:
        with whole_file(workdir.student) as temporary:
            student.save(temporary)
        dimension = students.embedding_dim(student)
        logging.info("wrote %s: %d parameters, %d-d", workdir.student, student.count_params(), dimension)


def _fit_codes(settings: Settings, student: keras.Model, pool: ImageSet) -> None:
    """Fits the hash head to images of the pool, asked about or not."""
    chosen = np.random.default_rng(settings.seed).permutation(len(pool))[:MOST_FITTED]
    pool = pool.subset(np.sort(chosen).tolist())
    plain = read_images(pool, settings.image_size, settings, "reading the whole pool")
    views: Iterable[np.ndarray] = [plain.pixels]
    if settings.augment:
        sources = read_images(pool, round(settings.image_size * SOURCE_MARGIN), settings, "reading it for crops").pixels
        views = changed_views(sources, settings.image_size, VIEWS, seed=settings.seed)
    fit_hash_head(student, plain.pixels, views, seed=settings.seed)


def build_distiller(
    settings: Settings, student: keras.Model, teacher_dim: int, kind: type[Distiller] = Distiller, **options: Any
) -> Distiller:
    """Puts the parts of the joint space around a student, as the settings say; `options` are those of its `kind`."""
    loss = loss_of(settings)
    joint = bool(getattr(loss, "joint", False))
    if settings.freeze_batch_norm:
        for layer in student.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.trainable = False
    interpolation = None
    # The published rivals are defined on the rows of a batch; only the joint losses know which mixtures to mask.
    if settings.mixtures and joint:
        interpolation = JointSpaceInterpolation(
            settings.mixtures,
            distribution=settings.mixing,
            alpha=settings.mixing_alpha,
            pairing=settings.pairing,
            renormalise=settings.renormalise,
            seed=settings.seed,
        )
    if settings.hash_bits:
        if kind is not Distiller:
            raise ArgumentError("a student that shrinks has no binary codes yet; leave out --hash_bits or the target")
        kind = HashDistiller
        options = {"distillation": settings.hash_distillation, "quantisation": settings.hash_quantisation}
        options["seed"] = settings.seed
    unequal = getattr(loss, "needs_equal_dims", False) and teacher_dim != students.embedding_dim(student)
    return kind(
        student,
        interpolation=interpolation,
        bank=EmbeddingBank(settings.bank_size) if joint and settings.bank_size else None,
        anchors=settings.anchors,
        rank_against=settings.rank_against,
        rank_parents=settings.rank_parents,
        projection_dim=teacher_dim if unequal else None,
        joint_space=settings.joint_space,
        **options,
    )


def loss_of(settings: Settings) -> keras.losses.Loss:
    """Returns the loss that --loss and --loss_options (`name=value,...`) name; ListMLE where orders are learned."""
    if learns_orders(settings):
        return ListMLEOfOrders(**parse_options(settings.loss_options))
    return losses.get(settings.loss, **parse_options(settings.loss_options))


def optimizer_of(settings: Settings, total_steps: int) -> keras.optimizers.Optimizer:
    """Returns the optimizer with a cosine schedule down to 0 over all steps."""
    schedule = keras.optimizers.schedules.CosineDecay(settings.learning_rate, total_steps)
    return optimizers.get(settings.optimizer, learning_rate=schedule)


def parse_options(text: str) -> dict[str, Any]:
    """Reads `name=value,name=value`; values are numbers, true, false, or words.

    Raises:
        ArgumentError: a part without an equals sign.
    """
    options: dict[str, Any] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = part.partition("=")
        if not equals:
            raise ArgumentError(f"--loss_options takes name=value,name=value; found {part!r}")
        try:
            options[name.strip()] = json.loads(value)
        except ValueError:
            options[name.strip()] = value.strip()
    return options


def _watch(settings: Settings, data: RetrievalData) -> RetrievalEvaluation | None:
    """Returns the callback that evaluates on the validation images; None without any."""
    if data.validation is None:
        return None
    validation = read_images(data.validation, settings.image_size, settings, "reading validation")
    return RetrievalEvaluation(validation.pixels, np.asarray(data.validation.labels)[validation.indices])


def _answered(settings: Settings, workdir: Workdir, pool: ImageSet) -> tuple[ImageSet, np.ndarray]:
    """Returns the images to learn from and their targets: vectors [n, Dt], labels [n], or orders [m, 1 + k]."""
    if compares(settings):
        return (ordered_lists if learns_orders(settings) else ranked_pool)(settings, workdir, pool)
    with np.load(workdir.needs(workdir.answers, "ask"), allow_pickle=False) as answers:
        ids, embeddings = answers["ids"].tolist(), answers["embeddings"]
        contents = answers["contents"] if "contents" in answers.files else None
    positions = {name: index for index, name in enumerate(pool.ids)}
    missing = [name for name in ids if name not in positions]
    if missing:
        raise KdistillError(f"{workdir.answers} has an answer for {missing[0]!r}, which is not in the pool")
    images = pool.subset([positions[name] for name in ids])
    rows = unchanged_rows(images, contents, strict=settings.strict)
    images, embeddings = images.subset(rows), embeddings[rows]
    if settings.whiten_teacher:
        embeddings = fit_whitening(embeddings).transform(embeddings)
    if settings.hash_bits:
        # Bits are set in half of the images, so cosines of codes spread about 0, and those of the targets shall too.
        embeddings = embeddings - embeddings.mean(axis=0)
    return images, embeddings
