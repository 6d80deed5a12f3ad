"""Random batches, with duplicates, zero rows, one or two images, half precision: always finite, zero when empty."""

import numpy as np
import pytest
import tensorflow as tf

from benchmarks.training.soundness import DIM, losses_of, random_batch
from kdistill import losses


@pytest.mark.long
@pytest.mark.parametrize("name", losses.names())
def test_losses_and_gradients_are_finite_on_any_batch(name):
    values, finite = losses_of(name, 100, seed=0)
    assert np.all(finite)
    assert np.all(values > -1e-4)


@pytest.mark.long
def test_the_same_seed_gives_the_same_losses():
    first, again, other = (losses_of("softmax_ranking", 20, seed)[0] for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert np.any(first != other)


@pytest.mark.parametrize("name", [name for name in losses.names() if losses.get(name).joint])
def test_the_pure_functions_behave_the_same_without_a_graph(name):
    rng = np.random.default_rng(1)
    loss = losses.get(name)
    for _ in range(10):
        teacher, student, _ = random_batch(rng)
        rows = tf.constant(student)
        with tf.GradientTape() as tape:
            tape.watch(rows)
            total = loss.call(teacher, rows)
        assert total.dtype == tf.float32
        assert np.all(np.isfinite(tape.gradient(total, rows)))


@pytest.mark.parametrize("name", losses.names())
def test_nothing_to_rank_costs_nothing_and_moves_nothing(name):
    loss = losses.get(name)
    student = tf.constant(np.random.default_rng(2).normal(size=(4, DIM)), tf.float32)
    teacher = tf.constant(np.random.default_rng(3).normal(size=(4, DIM)), tf.float32)
    per_row = name in ("regression", "rkd", "raml")
    nothing = tf.zeros((4,) if per_row else (4, 4), tf.bool)
    with tf.GradientTape() as tape:
        tape.watch(student)
        total = loss.call(tf.constant([0, 0, 1, 1]) if loss.needs_labels else teacher, student, mask=nothing)
    assert float(total) == 0.0
    np.testing.assert_array_equal(tape.gradient(total, student), np.zeros((4, DIM)))


@pytest.mark.long
@pytest.mark.parametrize("name", losses.names())
def test_losses_compile(name):
    loss = losses.get(name)
    student = np.random.default_rng(5).normal(size=(5, DIM)).astype("float32")
    targets = tf.constant([0, 0, 1, 1, 2]) if loss.needs_labels else student[::-1].copy()
    compiled = tf.function(loss.call, jit_compile=True)
    assert float(compiled(targets, student)) == pytest.approx(float(loss.call(targets, student)), rel=1e-3)
