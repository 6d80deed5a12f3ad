"""A training of exactly so many steps: the same to the last bit wherever it pauses, stops and goes on."""

import itertools
import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from small_training import batches, distiller_of, first_on_both, quick, same_bits, state_of

from kdistill import stacks
from kdistill.errors import ArgumentError, KdistillError
from kdistill.training.callbacks import HistoryFile, ResumableCheckpoint, StopOnNaN, read_history
from kdistill.training.fit import pause_steps, train

pytestmark = pytest.mark.long


@pytest.fixture(autouse=True, scope="module")
def _deterministic():
    tf.config.experimental.enable_op_determinism()


@pytest.mark.parametrize(
    ("steps", "evaluations", "expected"),
    [
        (10, 4, (3, 6, 8, 10)),
        (6, 3, (2, 4, 6)),
        (7, 1, (7,)),
        (3, 9, (1, 2, 3)),
        (1, 1, (1,)),
        (600, 6, (100, 200, 300, 400, 500, 600)),
    ],
)
def test_pauses_are_spread_evenly(steps, evaluations, expected):
    assert pause_steps(steps, evaluations) == expected


def test_all_pauses_of_small_trainings_end_at_the_end_and_differ_by_one_step_at_most():
    for steps, evaluations in itertools.product(range(1, 25), repeat=2):
        pauses = pause_steps(steps, evaluations)
        lengths = np.diff((0, *pauses))
        assert len(pauses) == min(steps, evaluations)
        assert pauses[-1] == steps
        assert lengths.min() >= 1
        assert lengths.max() - lengths.min() <= 1


@pytest.mark.parametrize(("steps", "evaluations"), [(0, 1), (5, 0), (-1, 3)])
def test_no_steps_or_pauses_are_refused(steps, evaluations):
    with pytest.raises(ArgumentError, match="at least 1 step"):
        pause_steps(steps, evaluations)


@pytest.fixture(scope="module")
def uninterrupted():
    """What one call of Keras's own `fit` over all ten steps comes to."""
    distiller = distiller_of()
    distiller.fit(batches(0, 10), steps_per_epoch=10, shuffle=False, verbose=0)
    return state_of(distiller)


@pytest.mark.parametrize("evaluations", first_on_both(3, 1, 4, 6))
def test_pauses_change_nothing_and_the_steps_are_exact(uninterrupted, evaluations):
    distiller = distiller_of()
    history = train(distiller, batches, steps=10, pauses=pause_steps(10, evaluations), verbose=0)
    assert int(distiller.optimizer.iterations) == 10
    assert history.epoch == list(range(evaluations))
    assert len(history.history["loss"]) == evaluations
    same_bits([uninterrupted, state_of(distiller)])


@pytest.mark.parametrize(
    ("before", "after"),
    first_on_both(((4, 4), (10, 3)), ((5, 2), (10, 1)), ((3, 3), (10, 6))),
)
def test_a_training_goes_on_at_any_step_with_any_pauses(uninterrupted, tmp_path, before, after):
    for steps, evaluations in (before, after):
        distiller = distiller_of()
        checkpoint = ResumableCheckpoint(distiller, tmp_path / "checkpoints")
        history = HistoryFile(tmp_path / "history.jsonl")
        pauses = pause_steps(steps, evaluations)
        train(distiller, batches, steps=steps, pauses=pauses, callbacks=[history], checkpoint=checkpoint, verbose=0)
    same_bits([uninterrupted, state_of(distiller)])
    told = [line["step"] for line in read_history(tmp_path / "history.jsonl")]
    expected = [*pause_steps(*before), *(step for step in pause_steps(*after) if step > before[0])]
    assert told == expected
    # All is done: nothing more happens, and the weights are those of the end.
    again = distiller_of()
    checkpoint = ResumableCheckpoint(again, tmp_path / "checkpoints")
    assert train(again, batches, steps=10, pauses=(10,), checkpoint=checkpoint, verbose=0).history == {}
    same_bits([uninterrupted, state_of(again)])


class Stop(keras.callbacks.Callback):
    """Raises or stops after so many batches, counted over the whole training."""

    def __init__(self, after, raises):
        super().__init__()
        self.left, self.raises, self.began, self.ended = after, raises, 0, 0

    def on_train_begin(self, logs=None):
        self.began += 1

    def on_train_end(self, logs=None):
        self.ended += 1

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if self.left == 0 and self.raises:
            raise KeyboardInterrupt
        if self.left == 0:
            self.model.stop_training = True


@pytest.mark.parametrize("killed_after", first_on_both(4, 1, 9))
def test_a_training_that_is_killed_ends_as_the_uninterrupted(uninterrupted, tmp_path, killed_after):
    for evaluations, callbacks in ((4, [Stop(killed_after, raises=True)]), (3, [])):
        distiller = distiller_of()
        checkpoint = ResumableCheckpoint(distiller, tmp_path)
        pauses = pause_steps(10, evaluations)
        try:
            train(distiller, batches, steps=10, pauses=pauses, callbacks=callbacks, checkpoint=checkpoint, verbose=0)
        except KeyboardInterrupt:
            assert checkpoint.done == max([0, *(pause for pause in pauses if pause < killed_after)]) or callbacks
    same_bits([uninterrupted, state_of(distiller)])


@pytest.mark.both_stacks
def test_a_damaged_checkpoint_falls_back_on_the_one_before(uninterrupted, tmp_path, caplog):
    distiller = distiller_of()
    train(distiller, batches, steps=8, pauses=(3, 8), checkpoint=ResumableCheckpoint(distiller, tmp_path), verbose=0)
    (newest,) = tmp_path.glob("ckpt-2.data*")
    newest.write_bytes(newest.read_bytes()[:99])
    distiller = distiller_of()
    checkpoint = ResumableCheckpoint(distiller, tmp_path)
    assert checkpoint.restore() == 3
    assert "trying the one before" in caplog.text
    train(distiller, batches, steps=10, pauses=(10,), checkpoint=checkpoint, verbose=0)
    same_bits([uninterrupted, state_of(distiller)])


@pytest.mark.both_stacks
def test_stop_training_is_honoured_between_and_within_calls_of_fit():
    # Lengths 3, 3, 2, 2: two calls of fit.
    for after in (3, 7):
        distiller, stop = distiller_of(), Stop(after, raises=False)
        train(distiller, batches, steps=10, pauses=pause_steps(10, 4), callbacks=[stop], verbose=0)
        assert int(distiller.optimizer.iterations) in (
            after,
            *([6] if after == 4 and keras.__version__[0] == "2" else []),
        )
        assert (stop.began, stop.ended) == (1, 1)


@pytest.mark.both_stacks
def test_callbacks_of_keras_and_own_ones_see_one_training(tmp_path):
    class Told(keras.callbacks.Callback):
        def __init__(self):
            super().__init__()
            self.events = []

        def on_train_begin(self, logs=None):
            self.events.append("begin")

        def on_train_end(self, logs=None):
            self.events.append(("end", "loss" in logs))

        def on_epoch_begin(self, epoch, logs=None):
            self.events.append(epoch)

        def on_epoch_end(self, epoch, logs=None):
            logs["quality"] = -float(epoch)
            self.events.append((epoch, self.params["epochs"], self.params["steps"]))

    told = Told()
    # The quality falls from the first pause on: with a patience of 3 the fourth epoch is the last.
    stop = keras.callbacks.EarlyStopping(monitor="quality", mode="max", patience=3, restore_best_weights=True)
    best = keras.callbacks.ModelCheckpoint(
        str(tmp_path / "best.weights.h5"), monitor="quality", mode="max", save_best_only=True, save_weights_only=True
    )
    logged = keras.callbacks.CSVLogger(str(tmp_path / "log.csv"))
    distiller = distiller_of()
    train(distiller, batches, steps=10, pauses=pause_steps(10, 6), callbacks=[told, stop, best, logged], verbose=0)
    # Lengths 2, 2, 2, 2, 1, 1.
    expected = [entry for epoch in range(4) for entry in (epoch, (epoch, 6, 2))]
    assert told.events == ["begin", *expected, ("end", True)]
    assert int(distiller.optimizer.iterations) == 8
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 5
    # The best weights are those of the first pause.
    first = distiller_of()
    train(first, batches, steps=2, pauses=(2,), verbose=0)
    for kept, trained in zip(distiller.student.get_weights(), first.student.get_weights(), strict=True):
        assert kept.tobytes() == trained.tobytes()


def test_patience_goes_on_over_epochs_of_another_length():
    class Falling(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs["quality"] = -float(epoch)

    stop = keras.callbacks.EarlyStopping(monitor="quality", mode="max", patience=2)
    distiller = distiller_of()
    # Lengths 3, 3, 2, 2: the third epoch, in the second call of fit, is the second without an improvement.
    train(distiller, batches, steps=10, pauses=pause_steps(10, 4), callbacks=[Falling(), stop], verbose=0)
    assert int(distiller.optimizer.iterations) == 8


@pytest.mark.parametrize("steps_per_execution", first_on_both(3, 2))
def test_several_steps_in_one_execution_are_as_exact(uninterrupted, tmp_path, steps_per_execution):
    distiller = distiller_of(steps_per_execution=steps_per_execution)
    history = HistoryFile(tmp_path / "history.jsonl")
    train(distiller, batches, steps=10, pauses=pause_steps(10, 3), callbacks=[history], verbose=0)
    assert [line["step"] for line in read_history(tmp_path / "history.jsonl")] == [4, 7, 10]
    assert int(distiller.optimizer.iterations) == 10
    # In a loop TensorFlow 2.15 rounds a step's last bit in another way.
    for looped, plain in zip(state_of(distiller), uninterrupted, strict=True):
        np.testing.assert_allclose(
            looped, plain, rtol=1e-3 if stacks.KERAS_2 else 0, atol=1e-5 if stacks.KERAS_2 else 0
        )


@pytest.mark.both_stacks
def test_running_eagerly_comes_to_the_same(uninterrupted):
    distiller = distiller_of(run_eagerly=True)
    assert distiller.run_eagerly
    train(distiller, batches, steps=10, pauses=(5, 10), verbose=0)
    for eager, graph in zip(state_of(distiller), uninterrupted, strict=True):
        np.testing.assert_allclose(eager, graph, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("evaluations", [4])
def test_a_moving_average_of_the_weights_is_put_in_place_at_the_end_alone(evaluations, tmp_path):
    def distiller():
        return distiller_of(optimizer=keras.optimizers.SGD(0.05, use_ema=True, ema_momentum=0.7))

    whole = distiller()
    whole.fit(batches(0, 10), steps_per_epoch=10, shuffle=False, verbose=0)
    paused = distiller()
    checkpoint = ResumableCheckpoint(paused, tmp_path)
    train(paused, batches, steps=10, pauses=pause_steps(10, evaluations), checkpoint=checkpoint, verbose=0)
    # The last checkpoint is of the step itself: taken up again, the average is put in place as well.
    resumed = distiller()
    train(resumed, batches, steps=10, pauses=(10,), checkpoint=ResumableCheckpoint(resumed, tmp_path), verbose=0)
    same_bits([state_of(whole), state_of(paused), state_of(resumed)])


@pytest.mark.both_stacks
def test_the_learning_rate_reaches_its_end_at_the_last_step():
    rates = []

    class Rates(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            if not stacks.KERAS_2:
                rates.append(float(self.model.optimizer.learning_rate))

        def on_train_batch_end(self, batch, logs=None):
            if stacks.KERAS_2:  # where it says what the last step took
                rates.append(float(self.model.optimizer.learning_rate))

    distiller = distiller_of()
    train(distiller, batches, steps=10, pauses=pause_steps(10, 4), callbacks=[Rates()], verbose=0)
    np.testing.assert_allclose(rates, [0.005 * (1 + math.cos(math.pi * step / 10)) for step in range(10)], rtol=1e-5)


def test_a_part_of_a_longer_training_begins_where_it_is_told(uninterrupted, tmp_path):
    distiller = distiller_of()
    history = HistoryFile(tmp_path / "history.jsonl")
    for first, last in ((0, 4), (4, 5), (5, 10)):
        train(
            distiller, batches, steps=last, first_step=first, pauses=(2, 7)[: 1 + (last > 7)],
            callbacks=[history], verbose=0,
        )  # fmt: skip
    assert [line["step"] for line in read_history(tmp_path / "history.jsonl")] == [2, 4, 5, 7, 10]
    same_bits([uninterrupted, state_of(distiller)])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 10, "pauses": (5, 11)}, "cannot pause after step 11"),
        ({"steps": 10, "pauses": (0, 10)}, "cannot pause after step 0"),
        ({"steps": 3, "first_step": 4, "pauses": ()}, "from step 4 to step 3"),
    ],
)
def test_impossible_trainings_are_refused(options, message):
    with pytest.raises(ArgumentError, match=message):
        train(distiller_of(), batches, verbose=0, **options)


@pytest.mark.filterwarnings("ignore:.*ran out of data")
def test_data_that_end_early_are_told():
    with pytest.raises(KdistillError, match="the data ended at step 4, before step 6"):
        train(quick(), lambda first, last: batches(first, last - 2), steps=6, pauses=(6,), verbose=0)


def test_checkpoints_beyond_the_end_are_refused(tmp_path):
    distiller = quick()
    train(distiller, batches, steps=4, pauses=(4,), checkpoint=ResumableCheckpoint(distiller, tmp_path), verbose=0)
    with pytest.raises(KdistillError, match="are of step 4, beyond the 3 steps"):
        train(distiller, batches, steps=3, pauses=(3,), checkpoint=ResumableCheckpoint(distiller, tmp_path), verbose=0)


@pytest.mark.parametrize(("evaluations", "bad"), first_on_both((3, 9), (4, 5), (10, 7), (1, 1)))
def test_a_loss_that_is_not_finite_is_told_with_its_step(evaluations, bad):
    def broken(first, last):
        def spoil(step, batch):
            images, (targets, ids) = batch
            return images, (tf.where(step + first == bad - 1, np.nan, targets), ids)

        return batches(first, last).enumerate().map(spoil)

    stop = StopOnNaN(ids_of=lambda step: [f"image of step {step}"])
    with pytest.raises(KdistillError, match=f"the loss became nan at step {bad}; .*'image of step {bad - 1}'"):
        train(quick(), broken, steps=10, pauses=pause_steps(10, evaluations), callbacks=[stop], verbose=0)
