"""Random batches, with duplicates, zero rows, one or two images, half precision: always finite, zero when empty."""

import numpy as np
import pytest
import tensorflow as tf

from kdistill import losses
from kdistill.layers import JointSpaceInterpolation, pair_mask

BATCHES = 100
DIM = 4


def random_batch(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns teacher [B, D], student [B, D] and labels [B] with B from 1 to 8 and every kind of accident."""
    size = int(rng.choice([1, 2, 3, 8]))
    teacher, student = rng.normal(size=(2, size, DIM)).astype("float32") * 10.0 ** rng.integers(-3, 3)
    for rows in (teacher, student):
        rows[rng.random(size) < 0.1] = 0.0
        if rng.random() < 0.3:
            rows[:] = rows[rng.integers(0, size, size)]
        if rng.random() < 0.05:
            rows[:] = -rows[:1] * rng.choice([-1, 1], size=(size, 1))
    return teacher, student, rng.integers(0, 3, size)


def step_of(name: str):
    """Returns a graph (targets, student) -> losses and gradients in float32 and float16, mixtures where they belong."""
    loss = losses.get(name)
    interpolation = JointSpaceInterpolation(6)

    def value(targets, student):
        if not loss.joint:
            return loss.call(targets, student)
        z_student, z_teacher, parents = interpolation((student, targets))
        mask = pair_mask(parents, tf.shape(student)[0], anchors="both")
        return loss.call(z_teacher, z_student, mask=mask)

    target = tf.TensorSpec([None], tf.int64) if loss.needs_labels else tf.TensorSpec([None, DIM])

    @tf.function(input_signature=[target, tf.TensorSpec([None, DIM])])
    def step(targets, student):
        outputs = []
        for dtype in (tf.float32, tf.float16):
            rows = tf.cast(student, dtype)
            with tf.GradientTape() as tape:
                tape.watch(rows)
                total = value(targets, rows)
            outputs += [total, tf.cast(tape.gradient(total, rows), tf.float32)]
        return outputs

    return step


@pytest.mark.parametrize("name", losses.names())
def test_losses_and_gradients_are_finite_on_any_batch(name):
    rng = np.random.default_rng(0)
    step = step_of(name)
    for _ in range(BATCHES):
        teacher, student, labels = random_batch(rng)
        loss, gradient, half_loss, _ = step(labels if losses.get(name).needs_labels else teacher, student)
        assert np.isfinite(loss)
        assert np.isfinite(half_loss)
        assert float(loss) > -1e-4
        assert np.all(np.isfinite(gradient))


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


@pytest.mark.parametrize("name", losses.names())
def test_losses_compile(name):
    loss = losses.get(name)
    student = np.random.default_rng(5).normal(size=(5, DIM)).astype("float32")
    targets = tf.constant([0, 0, 1, 1, 2]) if loss.needs_labels else student[::-1].copy()
    compiled = tf.function(loss.call, jit_compile=True)
    assert float(compiled(targets, student)) == pytest.approx(float(loss.call(targets, student)), rel=1e-3)
