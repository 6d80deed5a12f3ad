"""Callbacks of one's own through an interruption: what they have counted goes on, whatever it is."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdistill import students
from kdistill.data.pipeline import training_batches
from kdistill.errors import KdistillError
from kdistill.training.callbacks import CallbackStates, ResumableCheckpoint
from kdistill.training.distiller import Distiller
from kdistill.training.fit import pause_steps, train

RANDOM = np.random.default_rng(0)
PIXELS = RANDOM.integers(0, 256, (12, 8, 8, 3), np.uint8)
TEACHER = RANDOM.normal(size=(12, 5)).astype(np.float32)
PAUSES = pause_steps(8, 8)

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.lists(st.floats(width=32, allow_nan=False)).map(lambda values: np.array(values, np.float32))
    | st.integers(0, 9).map(np.int64),
    lambda inner: (
        st.lists(inner, max_size=3) | st.tuples(inner, inner) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)


class Seen(keras.callbacks.Callback):
    """Counts in several kinds of attributes, and starts over when a training begins, as Keras's own do."""

    def __init__(self, limit=0):
        super().__init__()
        self.limit = limit

    def on_train_begin(self, logs=None):
        self.losses, self.sums, self.last = [], np.zeros(2), {"epoch": None}

    def on_epoch_end(self, epoch, logs=None):
        self.losses.append(logs["loss"])
        self.sums = self.sums + np.array([1, logs["loss"]])
        self.last["epoch"] = epoch
        if len(self.losses) == self.limit:
            raise KeyboardInterrupt


def same(one, other):
    if isinstance(one, np.ndarray | np.generic):
        assert isinstance(other, np.ndarray | np.generic)
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    elif isinstance(one, list | tuple):
        assert type(one) is type(other)
        assert len(one) == len(other)
        for first, second in zip(one, other, strict=True):
            same(first, second)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for name in one:
            same(one[name], other[name])
    else:
        assert type(one) is type(other)
        assert one == other


def trained(folder, *own, kept=True):
    """Trains on from what is in the folder; `own` are callbacks, with their states kept or not."""
    keras.utils.set_random_seed(3)
    student = students.build("small_cnn", alpha=0.25, image_size=8, embedding_dim=4)
    distiller = Distiller(student)
    distiller.compile(keras.optimizers.Adam(1e-3), loss="softmax_ranking")

    def batches(first, last):
        return training_batches(
            PIXELS, TEACHER, batch_size=6, image_size=8, first_step=first, last_step=last, seed=4, augment=False
        )

    states = [CallbackStates(own, folder)] if kept else []
    checkpoint = ResumableCheckpoint(distiller, folder)
    train(distiller, batches, steps=8, pauses=PAUSES, callbacks=[*own, *states], checkpoint=checkpoint, verbose=0)
    return distiller


@pytest.mark.long
@pytest.mark.both_stacks
def test_ones_own_counts_go_on(tmp_path):
    whole = Seen()
    trained(tmp_path / "whole", whole)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "halves", Seen(limit=4))
    again = Seen()
    trained(tmp_path / "halves", again)
    assert len(whole.losses) == 8
    for name in ("losses", "sums", "last"):
        same(getattr(again, name), getattr(whole, name))
    # What it was made with is not taken from the file.
    assert again.limit == 0
    assert len(list((tmp_path / "halves").glob("callbacks-*.npz"))) == 3


@pytest.mark.long
@pytest.mark.both_stacks
@pytest.mark.parametrize("kept", [True, False])
def test_early_stopping_keeps_its_patience(tmp_path, kept):
    def early():
        # No loss is ever that much better: the first epoch is the best one, and the fourth is one too many.
        return keras.callbacks.EarlyStopping("loss", min_delta=1e9, patience=3, restore_best_weights=True)

    whole = trained(tmp_path / "whole", early())
    assert int(whole.optimizer.iterations) == 4
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "halves", early(), Seen(limit=3), kept=kept)
    again = trained(tmp_path / "halves", early(), kept=kept)
    assert int(again.optimizer.iterations) == (4 if kept else 6)
    weights = zip(whole.student.get_weights(), again.student.get_weights(), strict=True)
    assert all(np.array_equal(one, other) for one, other in weights) == kept
    if kept:
        # It had been ended, and stays so, with the weights that were the best.
        ended = trained(tmp_path / "halves", early())
        assert int(ended.optimizer.iterations) == 4
        for one, other in zip(whole.student.get_weights(), ended.student.get_weights(), strict=True):
            np.testing.assert_array_equal(one, other)


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / "callbacks-8.npz").write_bytes(b"PK\x03\x04 and no more")
    states = CallbackStates([Seen()], tmp_path)
    states.done = 8
    with pytest.raises(KdistillError, match=r"callbacks-8\.npz holds no state of callbacks"):
        states.on_train_begin()


@settings(max_examples=25)
@given(st.dictionaries(st.from_regex(r"mine_[a-z]{1,3}", fullmatch=True), VALUES, max_size=4))
def test_what_can_be_kept_comes_back_as_it_was(tmp_path_factory, values):
    folder = tmp_path_factory.mktemp("states")
    before, after = keras.callbacks.Callback(), keras.callbacks.Callback()
    states = CallbackStates([before], folder)
    states.set_model(_Running())
    states.on_train_begin()
    for name, value in values.items():
        setattr(before, name, value)
    states.done = 5
    states.on_epoch_end(0)
    restored = CallbackStates([after], folder)
    restored.done = 5
    restored.on_train_begin()
    for name, value in values.items():
        same(getattr(after, name), value)


class _Running:
    stop_training = False
