"""The training of a student that starts large and ends at a target: large, shrinking, small, in shares of the steps."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from absl import logging

from kdistill.compression.cost import CostModel
from kdistill.compression.importance import by_loss, by_neighbours, by_output
from kdistill.compression.insert import compactors, insert_compactors
from kdistill.compression.merge import merge
from kdistill.compression.paths import ChannelPath, channel_paths
from kdistill.compression.plan import Compaction, Phase, cost_of, phases_of
from kdistill.compression.refit import refit
from kdistill.compression.schedule import ChannelSchedule, close, lasso_of
from kdistill.compression.trainer import CapacityDistiller
from kdistill.errors import ArgumentError
from kdistill.files import made_from
from kdistill.files.whole import whole_file
from kdistill.runtimes.keras_models.keras_files import load_keras_file
from kdistill.training.callbacks.checkpoint import OURS, ResumableCheckpoint
from kdistill.training.distiller import Distiller
from kdistill.training.fit import Batches, train


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How each phase is trained.

    Attributes:
        build: (student, class of the distiller, **its options) -> distiller, not compiled.
        optimizer: learning rate (a float or a Keras schedule) -> optimizer, a new one each time.
        loss: a name or a Keras loss, for `Distiller.compile`.
        learning_rate: while the student is large and shrinking; then it falls to 0 along a cosine.
        batches: of `train`.
        steps: of the whole training.
        pauses: of `train`, over the whole training; they do not change the result.
        callbacks: name of a phase -> callbacks of `train`.
        verbose: as in `fit`.
    """

    build: Callable[..., Distiller]
    optimizer: Callable[[Any], Any]
    loss: Any
    learning_rate: float
    batches: Batches
    steps: int
    pauses: Sequence[int] = ()
    callbacks: Callable[[str], Sequence[keras.callbacks.Callback]] = lambda name: ()
    verbose: int = 2

    def train(
        self,
        phase: Phase,
        distiller: Distiller,
        rate: Any,
        folder: Path | None,
        more: Sequence[keras.callbacks.Callback] = (),
    ) -> None:
        """Compiles and trains a distiller through a phase, from its last checkpoint in `folder` on."""
        distiller.compile(self.optimizer(rate), loss=self.loss)
        checkpoint = None if folder is None else ResumableCheckpoint(distiller, folder / phase.name)
        logging.info("%s: steps %d to %d", phase.name, phase.first + 1, phase.last)
        train(
            distiller,
            self.batches,
            first_step=phase.first,
            steps=phase.last,
            pauses=[pause for pause in self.pauses if phase.first < pause <= phase.last],
            callbacks=[*more, *self.callbacks(phase.name)],
            checkpoint=checkpoint,
            verbose=self.verbose,
        )


def train_to_target(
    student: keras.Model,
    compaction: Compaction,
    recipe: Recipe,
    pixels: np.ndarray,
    teacher: np.ndarray,
    *,
    folder: Path | None = None,
    identity: Mapping[str, Any] | None = None,
) -> keras.Model:
    """Trains the student large, shrinks it to the target, trains what is left; returns it, plain.

    Args:
        student: before distillation.
        compaction: the target and the way there.
        recipe: how the phases are trained.
        pixels: uint8 [n, S, S, 3], the images with an answer as the student will see them.
        teacher: float [n, Dt], the answers.
        folder: where checkpoints and the students between the phases are kept, so that an interrupted training goes on;
            None keeps none.
        identity: what all this is made from. A folder of another identity, or of none, is emptied first; None takes up
            whatever is there.

    Raises:
        ArgumentError: answers that are no vectors, or too few steps.
        KdistillError: a target that cannot be met, damaged checkpoints, or what a callback raises.
    """
    if not np.issubdtype(teacher.dtype, np.floating) or teacher.ndim != 2:
        raise ArgumentError(
            f"a student that shrinks learns from vectors [n, Dt]; answers of shape {list(teacher.shape)} and type "
            f"{teacher.dtype} were given"
        )
    phases = phases_of(compaction, recipe.steps)
    before, target = cost_of(student, compaction.unit), compaction.target_of(student)
    if folder is not None and identity is not None:
        difference = made_from.claim(folder, identity, ours=OURS)
        if difference is not None:
            logging.warning("training starts anew, what was in %s is removed: %s", folder, difference)

    def grow() -> keras.Model:
        recipe.train(phases[0], recipe.build(student, Distiller), recipe.learning_rate, folder)
        return student

    large = _once(folder, "large", grow)

    def shrink() -> keras.Model:
        return _shrunk(large, compaction, target, recipe, phases[1], pixels, teacher, folder)

    small = _once(folder, "small", shrink)
    after = cost_of(small, compaction.unit)
    logging.info("%s: %s of %s (%.1f %%)", compaction.unit, f"{after:,}", f"{before:,}", 100 * after / before)
    rate = keras.optimizers.schedules.CosineDecay(recipe.learning_rate, phases[2].last - phases[2].first)
    recipe.train(phases[2], recipe.build(small, Distiller), rate, folder)
    return small


def _shrunk(
    large: keras.Model,
    compaction: Compaction,
    target: int,
    recipe: Recipe,
    phase: Phase,
    pixels: np.ndarray,
    teacher: np.ndarray,
    folder: Path | None,
) -> keras.Model:
    """Returns the student without the channels that were given up, each path merged into plain layers."""
    paths = channel_paths(large)
    steps = phase.last - phase.first
    compacted = insert_compactors(large)
    distiller = recipe.build(compacted, CapacityDistiller, lasso=lasso_of(steps))
    schedule = ChannelSchedule(
        paths,
        CostModel(large, paths, compaction.unit),
        target,
        lambda now: _importance(compaction, now, paths, pixels, teacher, distiller),
        steps=steps,
        cost_power=compaction.channel_cost_power,
    )
    recipe.train(phase, distiller, recipe.learning_rate, folder, [schedule])
    left = close(compacted)
    if left:
        logging.info("cut %d channels that were not closed yet, of norm up to %.3f", len(left), max(left))
    merged = merge(compacted)
    if compaction.refit_readers:
        inserted = compactors(compacted, paths)
        kept = {name: np.flatnonzero(np.asarray(compactor.kept)) for name, compactor in inserted.items()}
        refit(merged, large, paths, kept, pixels)
    return merged


def _importance(
    compaction: Compaction,
    student: keras.Model,
    paths: list[ChannelPath],
    pixels: np.ndarray,
    teacher: np.ndarray,
    distiller: Distiller,
) -> dict[str, np.ndarray]:
    if compaction.channel_importance == "neighbours":
        return by_neighbours(student, paths, pixels, teacher, compaction.channel_neighbours)
    if compaction.channel_importance == "output":
        return by_output(student, paths, pixels)
    return by_loss(student, paths, pixels, teacher, distiller.joint_loss)


def _once(folder: Path | None, name: str, make: Callable[[], keras.Model]) -> keras.Model:
    """Returns the student of that name in the folder; makes and keeps it where there is none."""
    file = folder / f"{name}.keras" if folder else None
    if file is not None and file.exists():
        return load_keras_file(file)
    student = make()
    if file is not None:
        with whole_file(file) as temporary:
            student.save(temporary)
    return student
