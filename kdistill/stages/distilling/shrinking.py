"""A student that shrinks, as a part of the stage `distill`."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from kdistill.compression.plan import Compaction
from kdistill.compression.training import Recipe, train_to_target
from kdistill.settings import Settings
from kdistill.stages.distilling.trainer import build_distiller, loss_of
from kdistill.stages.workdir import Workdir
from kdistill.training import optimizers
from kdistill.training.distiller import Distiller
from kdistill.training.fit import Batches, pause_steps


def shrinks(settings: Settings) -> bool:
    """Says whether the student has a target to shrink to."""
    return bool(settings.compaction.target_flops or settings.compaction.target_params)


def shrink(
    settings: Settings,
    student: keras.Model,
    pixels: np.ndarray,
    answers: np.ndarray,
    batches: Batches,
    callbacks: Callable[[str], Sequence[keras.callbacks.Callback]],
    workdir: Workdir,
    identity: Mapping[str, Any],
) -> keras.Model:
    """Returns the student at its target; goes on from wherever it was interrupted.

    Args:
        settings: of the run, with a target.
        student: before distillation.
        pixels: uint8 [n, S, S, 3], the images with an answer at the student's own size.
        answers: float [n, Dt].
        batches: (first step, last step) -> data.
        callbacks: name of a phase -> callbacks.
        workdir: of the run.
        identity: what the training is made from.

    Raises:
        KdistillError: a target that cannot be met, damaged checkpoints, a loss that is not finite.
    """
    recipe = recipe_of(settings, answers.shape[-1], batches, callbacks)
    return train_to_target(
        student, compaction_of(settings), recipe, pixels, answers, folder=workdir.checkpoints, identity=identity
    )


def recipe_of(
    settings: Settings,
    teacher_dim: int,
    batches: Batches,
    callbacks: Callable[[str], Sequence[keras.callbacks.Callback]],
    verbose: int = 2,
) -> Recipe:
    """Returns how each phase is trained, as the settings say."""
    training = settings.training

    def build(network: keras.Model, kind: type[Distiller], **options: Any) -> Distiller:
        return build_distiller(settings, network, teacher_dim, kind, **options)

    return Recipe(
        build=build,
        optimizer=lambda rate: optimizers.get(training.optimizer, learning_rate=rate),
        loss=loss_of(settings),
        learning_rate=training.learning_rate,
        batches=batches,
        steps=training.steps,
        pauses=pause_steps(training.steps, training.evaluations),
        callbacks=callbacks,
        verbose=verbose,
    )


def compaction_of(settings: Settings) -> Compaction:
    """Returns the target and the way there."""
    return Compaction(**dataclasses.asdict(settings.compaction))
