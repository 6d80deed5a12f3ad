"""The bank against a list: first in, first out, unit rows, never the same image."""

import numpy as np
import pytest
import tensorflow as tf

from kdistill.errors import ArgumentError
from kdistill.layers import EmbeddingBank
from kdistill.layers.numbers import numbers_of


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
    # The student has moved on, and the same vectors are still the same images.
    fresh = bank((student[:2] + 1.0, teacher[2:0:-1]))[2].numpy()
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
    everything = (*(np.concatenate(parts) for parts in zip(here, elsewhere, strict=True)), np.array([7, 8, 1, 2]))
    bank(here, ids=np.array([7, 8]), store=everything)
    # Here only one's own batch hides stored copies; what is stored hides those of all.
    fresh = bank(here, ids=np.array([7, 8]), store=everything)[2]
    np.testing.assert_array_equal(fresh, np.tile([False, False, True, True], (2, 1)))
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


def tf32(array: np.ndarray) -> np.ndarray:
    """Returns float32 rounded to the 10 bits of TF32's mantissa, to nearest and ties to even, as GPUs multiply."""
    bits = np.asarray(array, np.float32).view(np.uint32)
    return ((bits + 0xFFF + ((bits >> 13) & 1)) & 0xFFFFE000).astype(np.uint32).view(np.float32)


def naive_fresh(numbers: list[int], batch_numbers: list[int], size: int) -> list[bool]:
    """Which of the last `size` of all numbers stored so far are the newest of their image and not in the batch."""
    last = numbers[-size:]
    newest = [number not in last[place + 1 :] and number not in batch_numbers for place, number in enumerate(last)]
    return [False] * (size - len(last)) + newest


@pytest.mark.parametrize("numbered", [True, False])
@pytest.mark.parametrize("width", [3, 64, 512])
def test_an_image_is_recognised_where_products_are_rounded_to_ten_bits(numbered, width, monkeypatch):
    plain = tf.matmul
    monkeypatch.setattr(tf, "matmul", lambda a, b, **more: plain(tf32(a), tf32(b), **more))
    rng = np.random.default_rng(width)
    vectors = rng.normal(size=(40, width)).astype("float32")
    # Near duplicates: another image whose vector differs in the last bits.
    vectors[20:] = vectors[:20] * (1 + 1e-6 * rng.normal(size=(20, width)).astype("float32"))
    bank, stored = EmbeddingBank(30), []
    for _ in range(12):
        rows = rng.permutation(40)[:8]
        teacher = vectors[rows]
        fresh = bank((teacher[:, :2], teacher), ids=rows if numbered else None)[2].numpy()
        np.testing.assert_array_equal(fresh, np.tile(naive_fresh(stored, rows.tolist(), 30), (8, 1)))
        stored += rows.tolist()
    # The cosine of equal vectors, which recognised them before, is not near enough to 1 there.
    cosines = np.sum(tf32(unit(vectors)) ** 2, axis=1)
    if width > 3:
        assert not np.all(cosines > 1 - 1e-5)
    near = np.sum(unit(vectors[:20]) * unit(vectors[20:]), axis=1)
    assert (near > 1 - 1e-5).all()


def test_an_image_twice_in_a_batch_counts_by_its_last_row():
    bank = EmbeddingBank(4)
    student, teacher = batch(3, 0)
    bank((student, teacher), ids=np.array([5, 6, 5]))
    np.testing.assert_array_equal(bank(batch(1, 1), ids=np.array([0]))[2], [[False, False, True, True]])


def test_an_image_with_the_number_of_an_empty_place_is_fresh_once_it_is_stored():
    bank = EmbeddingBank(2)
    bank(batch(1, 0), ids=np.array([0]))
    np.testing.assert_array_equal(bank(batch(1, 1), ids=np.array([1]))[2], [[False, True]])
    np.testing.assert_array_equal(bank(batch(1, 0), ids=np.array([0]))[2], [[False, True]])


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_numbers_of_vectors_are_equal_where_the_bits_are(dtype):
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(2000, 16)).astype(dtype)
    vectors[1000:] = vectors[:1000]
    vectors[1000:, 3] = np.nextafter(vectors[1000:, 3].astype("float32" if dtype == "float64" else dtype), np.inf)
    numbers = numbers_of(tf.constant(vectors)).numpy()
    assert len(np.unique(numbers)) == 2000
    # The same whatever the batch around them.
    np.testing.assert_array_equal(numbers_of(tf.constant(vectors[7:9])).numpy(), numbers[7:9])
    compiled = tf.function(numbers_of, jit_compile=True)
    np.testing.assert_array_equal(compiled(tf.constant(vectors)).numpy(), numbers)
