"""One training of exactly so many steps, which pauses where it is told to and can be continued at any step."""

import contextlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf
from absl import logging

from kdistill.errors import ArgumentError, KdistillError
from kdistill.training.callbacks.checkpoint import ResumableCheckpoint
from kdistill.training.callbacks.states import CallbackStates
from kdistill.training.callbacks.steps import StepCallback
from kdistill.training.distiller import Distiller
from kdistill.training.distributed_fit import distributed_batches, distributed_fit
from kdistill.training.distribution import everyone_says

Batches = Callable[..., tf.data.Dataset]
"""(first_step, last_step) -> the batches of steps first_step .. last_step - 1, counted from 0, whenever it is called.
Under a strategy it also gets `replicas` and `part`, as `training_batches` takes them."""


def pause_steps(steps: int, evaluations: int) -> tuple[int, ...]:
    """Returns the steps, counted from 1, after which a training pauses: min(evaluations, steps), the last at the end.

    The parts between differ by one step at most, longer ones first.

    Raises:
        ArgumentError: a number below 1.
    """
    if steps < 1 or evaluations < 1:
        raise ArgumentError(f"a training takes at least 1 step and 1 evaluation; {steps} and {evaluations} were given")
    count = min(evaluations, steps)
    short, longer = divmod(steps, count)
    return tuple(itertools.accumulate(short + (number < longer) for number in range(count)))


def train(
    distiller: Distiller,
    batches: Batches,
    *,
    steps: int,
    pauses: Sequence[int],
    first_step: int = 0,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    checkpoint: ResumableCheckpoint | None = None,
    verbose: int = 2,
    strategy: tf.distribute.Strategy | None = None,
) -> keras.callbacks.History:
    """Trains up to step `steps` and returns Keras's History, an epoch for each part between two pauses.

    The result (weights, optimizer, bank, count of the interpolation) is the same to the last bit wherever the training
    pauses or is interrupted: batches depend on their step alone, and all other state is in the checkpoint. Callbacks
    are Keras's or one's own: training begins and ends once for them, however often `fit` is called in between, so that
    EarlyStopping keeps its patience, also through an interruption where `CallbackStates` stands behind it;
    `stop_training` ends the training. Keras's BackupAndRestore is replaced by `checkpoint`.

    Args:
        distiller: compiled; with a strategy, made and compiled in its scope.
        batches: gives the data of a range of steps.
        steps: where the training ends; learning-rate schedules should run over `steps - first_step`.
        pauses: steps, counted from 1, after which epochs end: callbacks evaluate and record there, and the checkpoint
            is saved. `pause_steps` spreads them evenly. A training continues also at a step that is none of them.
        first_step: where the training begins, for one that is a part of a longer one.
        callbacks: in their order; those that add to the logs before those that read them.
        checkpoint: restored first, saved after all other callbacks; None for none.
        verbose: as in `fit`.
        strategy: whose replicas take the steps together; None for one device.

    Raises:
        ArgumentError: pauses that lie outside, or fewer than 0 steps to do.
        KdistillError: the checkpoint is of a later step, or differs between workers; or batches are missing.
        WorkerLost: another worker is gone.
    """
    ends = _ends(pauses, first_step, steps)
    done = _restored(checkpoint, first_step, steps, strategy)
    first_epoch = sum(end <= done for end in ends)
    counter, history = StepCallback(), keras.callbacks.History()
    listed = [*callbacks, *([] if checkpoint is None else [checkpoint]), counter, history]
    for callback in listed:
        if isinstance(callback, StepCallback):
            callback.done = done
    told = _Once(listed, add_progbar=verbose != 0, model=distiller, verbose=verbose, epochs=len(ends), steps=None)
    lengths = _lengths(ends, done)
    with _finalised_once(distiller, strategy):
        begun = bool(lengths)
        if begun:
            distiller.stop_training = False
            told.begin()
            if any(isinstance(callback, CallbackStates) and callback.stopped for callback in listed):
                lengths = []
        for epoch, count, length in _runs(
            lengths, first_epoch, together=distiller.run_options.steps_per_execution == 1
        ):
            told.set_params({"verbose": verbose, "epochs": len(ends), "steps": length})
            _fit(distiller, batches, counter.done, epoch, count, length, told, strategy, verbose)
            if distiller.stop_training:
                break
            expected = ends[epoch + count - 1]
            if counter.done != expected:
                raise KdistillError(f"the data ended at step {counter.done}, before step {expected} of the training")
        if begun:
            told.end()
    return history


def _fit(
    distiller: Distiller,
    batches: Batches,
    done: int,
    epoch: int,
    count: int,
    length: int,
    told: "_Once",
    strategy: tf.distribute.Strategy | None,
    verbose: int,
) -> None:
    """Trains `count` epochs of `length` steps each, the first of which is number `epoch`."""
    last = done + count * length
    if strategy is not None:
        parts = distributed_batches(strategy, lambda replicas, part: batches(done, last, replicas=replicas, part=part))
        distributed_fit(
            distiller, parts, strategy=strategy, lengths=[length] * count, first_epoch=epoch, callbacks=told
        )
        return
    distiller.fit(
        batches(done, last),
        initial_epoch=epoch,
        epochs=epoch + count,
        steps_per_epoch=length,
        callbacks=told,
        shuffle=False,
        verbose=verbose,
    )


class _Once(keras.callbacks.CallbackList):
    """The callbacks of one training that takes several calls of `fit`: it begins and ends once."""

    logs: dict[str, float] | None = None

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Called by each `fit`; does nothing."""

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        """Called by each `fit`; remembers the logs."""
        self.logs = logs

    def begin(self) -> None:
        """Begins the training."""
        super().on_train_begin()

    def end(self) -> None:
        """Ends the training."""
        super().on_train_end(self.logs)


def _ends(pauses: Sequence[int], first_step: int, steps: int) -> tuple[int, ...]:
    if not 0 <= first_step <= steps:
        raise ArgumentError(f"a training from step {first_step} to step {steps} has no steps")
    outside = [pause for pause in pauses if not 0 < pause <= steps]
    if outside:
        raise ArgumentError(f"a training of {steps} steps cannot pause after step {outside[0]}")
    return tuple(sorted({pause for pause in (*pauses, steps) if pause > first_step}))


def _restored(
    checkpoint: ResumableCheckpoint | None, first_step: int, steps: int, strategy: tf.distribute.Strategy | None
) -> int:
    restored = 0 if checkpoint is None else checkpoint.restore()
    if checkpoint is not None and strategy is not None and len(set(everyone_says(strategy, restored))) > 1:
        raise KdistillError(
            f"the workers found different checkpoints in {str(checkpoint.directory)!r}; "
            "that must be a folder that all of them share"
        )
    if checkpoint is not None and restored > steps:
        raise KdistillError(
            f"the checkpoints in {str(checkpoint.directory)!r} are of step {restored}, beyond the {steps} steps of "
            "this training; delete that folder to train from the start"
        )
    if restored > first_step:
        logging.info("continuing after %d of %d steps", restored, steps)
    return max(first_step, restored)


def _lengths(ends: Sequence[int], done: int) -> list[int]:
    """Returns how many steps are to do in each epoch that has any."""
    starts = [done, *(end for end in ends if end > done)]
    return [last - first for first, last in itertools.pairwise(starts)]


def _runs(lengths: Sequence[int], epoch: int, together: bool) -> Iterator[tuple[int, int, int]]:
    """Yields (first epoch, number of epochs, length of each): what one call of `fit` can do.

    With several steps in one execution Keras 3 runs beyond the end of an epoch where the data go on, so each epoch has
    data of its own then.
    """
    for length, same in itertools.groupby(lengths):
        count = len(list(same))
        for part in [count] if together else [1] * count:
            yield epoch, part, length
            epoch += part


@contextlib.contextmanager
def _finalised_once(distiller: Distiller, strategy: tf.distribute.Strategy | None) -> Iterator[None]:
    """Lets an optimizer with a moving average of the weights (`use_ema`) put it in place at the end alone.

    Keras does so at the end of each `fit`, which would make the pauses a part of the method.
    """
    optimizer: Any = distiller.optimizer
    finalise = getattr(optimizer, "finalize_variable_values", None)
    if finalise is None:
        yield
        return
    optimizer.finalize_variable_values = lambda *_: None
    try:
        yield
    finally:
        del optimizer.finalize_variable_values
    with contextlib.nullcontext() if strategy is None else strategy.scope():
        finalise(distiller.trainable_variables)
