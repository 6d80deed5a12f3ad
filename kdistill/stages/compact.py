"""A student that starts large and ends at a target, as a part of the stage `distill`."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
from absl import logging

from kdistill import compression
from kdistill.compression import ChannelPath, CostModel
from kdistill.data import LoadedImages
from kdistill.data.pipeline import training_batches
from kdistill.errors import ArgumentError
from kdistill.files.whole import whole_file
from kdistill.settings import Settings
from kdistill.stages.workdir import Workdir
from kdistill.training import optimizers
from kdistill.training.callbacks import HistoryFile, ResumableCheckpoint, RetrievalEvaluation, StopOnNaN
from kdistill.training.distiller import Distiller


@dataclasses.dataclass(frozen=True)
class Phase:
    """A part of the training: epochs first .. last - 1 of those of the whole."""

    name: str
    first: int
    last: int


def compacts(settings: Settings) -> bool:
    """Says whether the student has a target to shrink to.

    Raises:
        ArgumentError: settings that contradict each other.
    """
    if settings.compaction.target_flops and settings.compaction.target_params:
        raise ArgumentError("--target_flops and --target_params were given; one of them decides")
    wanted = bool(settings.compaction.target_flops or settings.compaction.target_params)
    if wanted and settings.training.strategy != "none":
        raise ArgumentError("a student that shrinks trains on one device; leave out --strategy or the target")
    if settings.compaction.channel_importance not in compression.IMPORTANCES:
        raise ArgumentError(
            f"--channel_importance={settings.compaction.channel_importance} is unknown; "
            f"choose one of {', '.join(compression.IMPORTANCES)}"
        )
    return wanted


def phases_of(settings: Settings) -> tuple[Phase, Phase, Phase]:
    """Returns the phases "large", "shrinking" and "small", each at least one epoch long.

    Raises:
        ArgumentError: fewer than three epochs, or bounds that are not 0 < shrink_from < shrink_until < 1.
    """
    epochs = min(settings.training.evaluations, settings.training.steps)
    if epochs < 3:
        raise ArgumentError(f"a student that shrinks trains in three phases; --evaluations={epochs} is too few")
    if not 0 < settings.compaction.shrink_from < settings.compaction.shrink_until < 1:
        raise ArgumentError(
            "--shrink_from and --shrink_until are shares of the steps, one after the other; "
            f"{settings.compaction.shrink_from} and {settings.compaction.shrink_until} were given"
        )
    first = min(max(1, round(epochs * settings.compaction.shrink_from)), epochs - 2)
    second = min(max(first + 1, round(epochs * settings.compaction.shrink_until)), epochs - 1)
    return Phase("large", 0, first), Phase("shrinking", first, second), Phase("small", second, epochs)


def distill_to_target(
    settings: Settings,
    student: keras.Model,
    pixels: np.ndarray,
    teacher: np.ndarray,
    build: Callable[..., Distiller],
    fit: Callable[[Distiller, Phase], None],
    folder: Path | None = None,
) -> keras.Model:
    """Trains the student large, shrinks it to the target, trains what is left; returns it, plain.

    The learning rate stays as it is while the student is large and shrinking and falls to 0 along a cosine afterwards.

    Args:
        settings: of the run, with a target.
        student: before distillation.
        pixels: uint8 [n, S, S, 3], the images with an answer as the student will see them.
        teacher: float32 [n, Dt], the answers.
        build: (student, class of the distiller, **its options) -> distiller, not compiled.
        fit: trains a compiled distiller through a phase.
        folder: where the students between the phases are kept, so that an interrupted training need not repeat one.

    Raises:
        KdistillError: a target that cannot be met.
    """
    unit = "flops" if settings.compaction.target_flops else "params"
    count = compression.count_flops if unit == "flops" else keras.Model.count_params
    before = count(student)
    target = compression.absolute(settings.compaction.target_flops or settings.compaction.target_params, before, unit)
    large_phase, shrinking, last = phases_of(settings)
    epoch_steps = -(-settings.training.steps // last.last)

    def compiled(distiller: Distiller, rate: object) -> Distiller:
        from kdistill.stages.distill import loss_of

        distiller.compile(optimizers.get(settings.training.optimizer, learning_rate=rate), loss=loss_of(settings))
        return distiller

    def grow() -> keras.Model:
        fit(compiled(build(student, Distiller), settings.training.learning_rate), large_phase)
        return student

    large = _once(folder, "large", grow)
    paths = compression.channel_paths(large)

    def shrink() -> keras.Model:
        steps = (shrinking.last - shrinking.first) * epoch_steps
        compacted = compression.insert_compactors(large)
        lasso = compression.lasso_of(steps)
        distiller = compiled(
            build(compacted, compression.CapacityDistiller, lasso=lasso), settings.training.learning_rate
        )
        distiller.schedule = compression.ChannelSchedule(
            paths,
            CostModel(large, paths, unit),
            target,
            lambda now: _importance(settings, now, paths, pixels, teacher, distiller),
            steps=steps,
            cost_power=settings.compaction.channel_cost_power,
        )
        fit(distiller, shrinking)
        left = compression.close(compacted)
        if left:
            logging.info("cut %d channels that were not closed yet, of norm up to %.3f", len(left), max(left))
        merged = compression.merge(compacted)
        if settings.compaction.refit_readers:
            kept = {
                name: np.flatnonzero(np.asarray(compactor.kept))
                for name, compactor in compression.compactors(compacted, paths).items()
            }
            compression.refit(merged, large, paths, kept, pixels)
        return merged

    small = _once(folder, "small", shrink)
    logging.info("%s: %s of %s (%.1f %%)", unit, f"{count(small):,}", f"{before:,}", 100 * count(small) / before)
    schedule = keras.optimizers.schedules.CosineDecay(
        settings.training.learning_rate, (last.last - last.first) * epoch_steps
    )
    fit(compiled(build(small, Distiller), schedule), last)
    return small


def train_to_target(
    settings: Settings,
    workdir: Workdir,
    student: keras.Model,
    plain: LoadedImages,
    sources: LoadedImages,
    targets: np.ndarray,
    validation: RetrievalEvaluation | None,
) -> None:
    """Runs the phases with checkpoints, history and logs and writes the student; continues after an interruption.

    Args:
        settings: of the run.
        workdir: of the run.
        student: before distillation.
        plain: the images with an answer at the student's own size.
        sources: the same images at the size that views are cropped from.
        targets: float32 [n, Dt], the answers of all chosen images, readable or not.
        validation: watches the training; None for none.

    Raises:
        ArgumentError: answers that are no vectors.
        KdistillError: a target that cannot be met, damaged checkpoints, a loss that is not finite.
    """
    from kdistill.stages.distill import build_distiller

    if not np.issubdtype(targets.dtype, np.floating):
        raise ArgumentError("a student that shrinks learns from vectors; give orders a ranker (--ranker_backbone)")
    epochs = min(settings.training.evaluations, settings.training.steps)
    epoch_steps = -(-settings.training.steps // epochs)

    def fit(distiller: Distiller, phase: Phase) -> None:
        checkpoint = ResumableCheckpoint(distiller, workdir.checkpoints / phase.name)
        first = max(phase.first, checkpoint.restore())
        if first == phase.last:
            return
        logging.info("%s: from step %d to %d", phase.name, first * epoch_steps, phase.last * epoch_steps)
        callbacks: list[keras.callbacks.Callback] = [StopOnNaN(), *([validation] if validation else [])]
        if isinstance(distiller, compression.CapacityDistiller):
            callbacks.append(distiller.schedule)
        history = HistoryFile(workdir.history, epoch_steps)
        logs = keras.callbacks.TensorBoard(str(workdir.logs / phase.name), write_graph=False)
        distiller.fit(
            training_batches(
                sources.pixels,
                targets[sources.indices],
                batch_size=settings.training.batch_size,
                image_size=settings.student.image_size,
                first_step=first * epoch_steps,
                last_step=phase.last * epoch_steps,
                seed=settings.run.seed,
                augment=settings.training.augment,
            ),
            epochs=phase.last,
            initial_epoch=first,
            steps_per_epoch=epoch_steps,
            callbacks=[*callbacks, history, logs, checkpoint],
            shuffle=False,
            verbose=2,
        )

    def build(network: keras.Model, kind: type[Distiller], **options: Any) -> Distiller:
        return build_distiller(settings, network, targets.shape[-1], kind, **options)

    answers = targets[plain.indices]
    small = distill_to_target(settings, student, plain.pixels, answers, build, fit, workdir.checkpoints)
    with whole_file(workdir.student) as temporary:
        small.save(temporary)
    logging.info("wrote %s: %d parameters, %d-d", workdir.student, small.count_params(), small.output_shape[-1])


def _importance(
    settings: Settings,
    student: keras.Model,
    paths: list[ChannelPath],
    pixels: np.ndarray,
    teacher: np.ndarray,
    distiller: Distiller,
) -> dict[str, np.ndarray]:
    if settings.compaction.channel_importance == "neighbours":
        return compression.by_neighbours(student, paths, pixels, teacher, settings.compaction.channel_neighbours)
    if settings.compaction.channel_importance == "output":
        return compression.by_output(student, paths, pixels)
    return compression.by_loss(student, paths, pixels, teacher, distiller.joint_loss)


def _once(folder: Path | None, name: str, make: Callable[[], keras.Model]) -> keras.Model:
    """Returns the student of that name in the folder; makes and keeps it where there is none."""
    file = folder / f"{name}.keras" if folder else None
    if file is not None and file.exists():
        return keras.saving.load_model(file, compile=False)
    student = make()
    if file is not None:
        with whole_file(file) as temporary:
            student.save(temporary)
    return student
