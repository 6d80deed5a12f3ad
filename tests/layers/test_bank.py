"""The bank against a list: first in, first out, unit rows, never the same image."""

import numpy as np
import pytest
import tensorflow as tf

from kdistill.errors import ArgumentError
from kdistill.layers import EmbeddingBank


def batch(size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(size, 3)).astype("float32"), rng.normal(size=(size, 5)).astype("float32")


def unit(array: np.ndarray) -> np.ndarray:
    return array / np.linalg.norm(array, axis=1, keepdims=True)


@pytest.mark.parametrize("graph", [False, True])
def test_it_keeps_the_last_rows_in_order(graph):
    bank = EmbeddingBank(5)
    call = tf.function(bank, reduce_retracing=True) if graph else bank
    student_list, teacher_list = np.zeros((0, 3)), np.zeros((0, 5))
    for seed, size in enumerate((2, 2, 3, 7, 1)):
        student, teacher = batch(size, seed)
        stored_student, stored_teacher, fresh = (output.numpy() for output in call((student, teacher)))
        filled = len(student_list)
        np.testing.assert_array_equal(fresh, np.tile(np.arange(5) >= 5 - filled, (size, 1)))
        np.testing.assert_allclose(stored_student[5 - filled :], student_list, atol=1e-6)
        np.testing.assert_allclose(stored_teacher[5 - filled :], teacher_list, atol=1e-6)
        student_list = np.concatenate([student_list, unit(student)])[-5:]
        teacher_list = np.concatenate([teacher_list, unit(teacher)])[-5:]


def test_an_image_of_the_batch_has_no_fresh_copy():
    bank = EmbeddingBank(4)
    student, teacher = batch(3, 0)
    bank((student, teacher))
    # The student has moved on and the scale of the teacher's vector does not matter: still the same image.
    fresh = bank((student[:2] + 1.0, 2.0 * teacher[2:0:-1]))[2].numpy()
    np.testing.assert_array_equal(fresh, np.tile([False, True, False, False], (2, 1)))


def test_an_image_counts_by_its_newest_row():
    bank = EmbeddingBank(6)
    first, second, third = batch(2, 0), batch(2, 1), batch(1, 2)
    bank(first)
    bank(second)
    moved = first[0][::-1] + 1.0, first[1][::-1]
    bank(moved)
    # Oldest first: the two of `first`, of which a newer row follows, the two of `second`, the two of `moved`.
    student, _, fresh = bank(third)
    np.testing.assert_array_equal(fresh, [[False, False, True, True, True, True]])
    np.testing.assert_allclose(student[4:], unit(moved[0]), atol=1e-6)


def test_rows_stored_for_other_replicas_are_ranked_there_and_here_later():
    bank = EmbeddingBank(4)
    here, elsewhere = batch(2, 0), batch(2, 1)
    everything = tuple(np.concatenate(parts) for parts in zip(here, elsewhere, strict=True))
    bank(here, store=everything)
    # Here only one's own batch hides stored copies; what is stored hides those of all.
    np.testing.assert_array_equal(bank(here, store=everything)[2], np.tile([False, False, True, True], (2, 1)))
    np.testing.assert_array_equal(bank(batch(1, 2))[2], [[True, True, True, True]])


def test_nothing_flows_back_through_the_bank():
    bank = EmbeddingBank(4)
    bank(batch(2, 0))
    student = tf.constant(batch(2, 1)[0])
    with tf.GradientTape() as tape:
        tape.watch(student)
        stored = bank((student, batch(2, 1)[1]))[0]
        total = tf.reduce_sum(stored)
    assert tape.gradient(total, student) is None


def test_what_is_stored_are_weights_and_not_trained():
    bank = EmbeddingBank(4)
    bank(batch(2, 0))
    restored = EmbeddingBank.from_config(bank.get_config())
    restored.build([(None, 3), (None, 5)])
    restored.set_weights(bank.get_weights())
    assert not bank.trainable_weights
    for ours, theirs in zip(bank(batch(2, 1)), restored(batch(2, 1)), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_an_empty_bank_is_refused():
    with pytest.raises(ArgumentError, match="at least 1 row"):
        EmbeddingBank(0)
