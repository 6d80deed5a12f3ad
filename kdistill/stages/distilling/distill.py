"""The stage `distill`: the student learns from the answers that the stage `ask` paid for."""

import contextlib
import shutil
import time
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from kdistill import students
from kdistill.data import RetrievalData
from kdistill.data.disk.photos import rows_looked_at
from kdistill.data.pipeline import rows_of_step, training_batches
from kdistill.files import made_from
from kdistill.files.whole import whole_file
from kdistill.preferences.order_batches import order_batches
from kdistill.settings import Settings
from kdistill.settings.effects import learns_orders, starts_trained
from kdistill.space.turning import query_turn, turn_queries
from kdistill.stages.asking.held_out import held_out_answers, learning_pool, named
from kdistill.stages.callbacks import RunContext, make_callbacks
from kdistill.stages.distilling.answered import answered, readable_lists
from kdistill.stages.distilling.shrinking import shrink, shrinks
from kdistill.stages.distilling.starting import all_looked_at, first_look, fit_codes
from kdistill.stages.distilling.trainer import build_distiller, loss_of, optimizer_of
from kdistill.stages.library import DISTILL
from kdistill.stages.opening.identity import digest_of_rows, training_identity
from kdistill.stages.opening.models import SOURCE_MARGIN, read_images
from kdistill.stages.opening.photos import open_photos, reading
from kdistill.stages.opening.sources import data_of
from kdistill.stages.space import TeacherSpace, in_space, read_space
from kdistill.stages.stage import Result
from kdistill.stages.tuning.tuned import tuned
from kdistill.stages.workdir import Workdir
from kdistill.training import optimizers
from kdistill.training.callbacks import (
    BestWeights,
    CallbackStates,
    FirstStep,
    HistoryFile,
    ResumableCheckpoint,
    RetrievalEvaluation,
    StopOnNaN,
)
from kdistill.training.distribution import copy_of, is_chief, lost_workers_told, strategy_of
from kdistill.training.fit import pause_steps, train

JUDGED_STEPS = 8
"""How many students on the way, the last among them, are judged by held-out answers; the best one is delivered."""


def distill(settings: Settings, workdir: Workdir) -> Result:
    """Trains the student and writes `student.keras`; continues from the last checkpoint after an interruption.

    Where answers are held out, the student is that of the step, of JUDGED_STEPS, at which it agreed best with them; one
    that shrinks is always the last.

    Under --strategy=multiworker all workers call it, and only the chief writes.

    Raises:
        ArgumentError: settings that contradict each other.
        WorkerLost: another worker is gone.
        KdistillError: no answers, damaged checkpoints, a loss that is not finite.
    """
    tf.config.experimental.enable_op_determinism()
    settings = tuned(settings, workdir)
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
    first_step = FirstStep(time.monotonic())
    training, side = settings.training, settings.student.image_size
    chief = is_chief(strategy)
    data = data_of(settings)
    pool = learning_pool(settings, workdir, data)
    space = read_space(settings, workdir)
    settings = in_space(settings, space)
    learned = answered(settings, workdir, pool, space)
    photos = open_photos(
        settings,
        workdir,
        learned.images,
        round(side * SOURCE_MARGIN) if training.augment else side,
        used=training.steps * training.batch_size,
        keep=chief,
    )
    with reading(photos):
        student, looked, plain = first_look(settings, photos, None if space is None else learned.targets)
        if settings.student.hash_bits and starts_trained(settings):
            fit_codes(settings, workdir, student, pool)
        student = students.in_precision(student, training.training_precision)
        ordered = learns_orders(settings)
        taught = learned.targets
        if ordered:
            taught = readable_lists(taught, looked)
        if all_looked_at(settings, photos):
            # The unreadable are left out; of a larger pool others take their places when it comes to them.
            photos, taught = photos.subset(looked), taught if ordered else taught[looked]
        identity = training_identity(DISTILL.deciding(settings), student, photos.digest, taught)
        if space is not None:
            identity["known"] = digest_of_rows(space.known)
        watches = _watches(settings, workdir, data, space)
        if chief and workdir.checkpoints.exists() and not workdir.history.exists():
            logging.info("%s is gone; training starts anew, so that it is written again", workdir.history)
            shutil.rmtree(workdir.checkpoints)

        def ids_of(step: int) -> list[str]:
            rows = rows_of_step(len(photos), training.batch_size, step, settings.run.seed)
            return [photos.images.ids[row] for row in rows]

        def callbacks(part: str = "") -> list[keras.callbacks.Callback]:
            logs = workdir.logs / part
            context = RunContext("distill", part, settings, workdir.path, training.steps, chief, workdir.figures)
            own = make_callbacks(context)
            states = [CallbackStates(own, workdir.checkpoints / part, keep=chief)] if own else []
            recorders: list[keras.callbacks.Callback] = [first_step]
            if chief:
                made_from.claim(logs, identity, ours=("train", "validation"))
                recorders.append(HistoryFile(workdir.history, identity=identity))
                recorders.append(keras.callbacks.TensorBoard(str(logs), write_graph=False))
            return [StopOnNaN(ids_of=None if ordered else ids_of), *watches, *own, *states, *recorders]

        def batches(first: int, last: int, **parts: Any) -> tf.data.Dataset:
            make_batches = order_batches if ordered else training_batches
            return make_batches(
                photos,
                taught,
                batch_size=training.batch_size,
                image_size=side,
                first_step=first,
                last_step=last,
                seed=settings.run.seed,
                augment=training.augment,
                **parts,
            )

        if shrinks(settings):
            answers = learned.targets[looked]
            return shrink(settings, student, plain, answers, batches, callbacks, workdir, identity)
        dimension = learned.targets.shape[-1]
        with strategy.scope() if strategy else contextlib.nullcontext():
            if strategy:
                # Its variables must belong to the strategy, which would also distribute the start's forward passes.
                student = copy_of(student, synchronised=training.joint_space == "global")
            distiller = build_distiller(settings, student, dimension)
            if strategy:
                distiller.build_joint_space(dimension)
            loss = loss_of(settings, learned.assistant_dim, None if space is None else space.known)
            optimizer = optimizers.for_network(optimizer_of(training), student)
            distiller.compile(optimizer, loss=loss)
            checkpoint = ResumableCheckpoint(distiller, workdir.checkpoints, identity, keep=chief)
        pauses, best = pause_steps(training.steps, training.evaluations), None
        if workdir.judging.is_file() and not getattr(distiller.optimizer, "use_ema", False):
            # At steps of their own: how often a training pauses does not change what it gives.
            judged = pause_steps(training.steps, JUDGED_STEPS)
            pauses = (*pauses, *judged)
            best = BestWeights(student, workdir.checkpoints / "best.npz", steps=judged, keep=chief)
        train(
            distiller,
            batches,
            steps=training.steps,
            pauses=pauses,
            callbacks=[*callbacks(), *([best] if best else [])],
            checkpoint=checkpoint,
            strategy=strategy,
        )
    if best is not None:
        step, value = best.put_back()
        logging.info("the student of step %d agrees best with held-out answers: overlap@10 %.3f", step, value)
    # All workers copy, since reading a variable may need all of them.
    student = copy_of(student, synchronised=False) if strategy else student
    if training.training_precision != "float32":
        student = students.in_float32(student)
    if space is not None:
        turn_queries(student, query_turn(space.known, settings.space.query_turn))
    return student


def _watches(
    settings: Settings, workdir: Workdir, data: RetrievalData, space: TeacherSpace | None
) -> list[RetrievalEvaluation]:
    """Returns the callbacks that evaluate on the validation images and by held-out answers, where there are any.

    In the teacher's space held-out answers are what the student's queries search, as they will.
    """
    side, strict = settings.student.image_size, settings.run.strict
    found = []
    if data.validation is not None:
        # They stand in memory, and each searches all others at every pause.
        watched = data.validation.subset(rows_looked_at(len(data.validation)))
        if len(watched) < len(data.validation):
            logging.info("training is watched on %d of %d validation images", len(watched), len(data.validation))
        seen = read_images(watched, side, strict=strict, description="reading validation")
        found.append(RetrievalEvaluation(seen.pixels, np.asarray(watched.labels)[seen.indices]))
    held_out = held_out_answers(workdir)
    if held_out is not None:
        ids, answers = held_out
        seen = read_images(named(data.gallery, ids), side, strict=strict, description="reading what judges")
        answers = answers[seen.indices]
        if space is None:
            found.append(RetrievalEvaluation(seen.pixels, teacher=answers))
        else:
            searched, turn = space.projection.transform(answers), query_turn(space.known, settings.space.query_turn)
            found.append(RetrievalEvaluation(seen.pixels, teacher=answers, searched=searched, turn=turn))
    return found
