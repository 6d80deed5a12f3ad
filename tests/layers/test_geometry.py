"""Similarities and distances, and their gradients where rows coincide or vanish."""

import numpy as np
import pytest
import tensorflow as tf

from kdistill.layers.geometry import l2_normalise, safe_sqrt, similarities, squared_distances


def test_distances_equal_a_loop_over_pairs():
    rng = np.random.default_rng(0)
    rows, others = rng.normal(size=(4, 3)).astype("float32"), rng.normal(size=(5, 3)).astype("float32")
    expected = [[np.sum((row - other) ** 2) for other in others] for row in rows]
    np.testing.assert_allclose(squared_distances(rows, others), expected, rtol=1e-5)


def test_cosine_and_dot_of_three_and_four():
    rows, others = tf.constant([[3.0, 4.0]]), tf.constant([[2.0, 0.0]])
    assert float(similarities(rows, others, "cosine")[0, 0]) == pytest.approx(0.6)
    assert float(similarities(rows, others, "dot")[0, 0]) == 6.0


def test_a_zero_row_has_no_direction_and_no_gradient():
    rows = tf.constant([[0.0, 0.0], [3.0, 4.0]])
    with tf.GradientTape() as tape:
        tape.watch(rows)
        directions = l2_normalise(rows)
        total = tf.reduce_sum(directions)
    np.testing.assert_allclose(directions, [[0.0, 0.0], [0.6, 0.8]], rtol=1e-6)
    gradient = tape.gradient(total, rows).numpy()
    assert np.all(gradient[0] == 0.0)
    assert np.any(gradient[1] != 0.0)


def test_float16_rows_are_normalised_in_float32():
    # The square of 300 overflows a float16.
    directions = l2_normalise(tf.constant([[300.0, 400.0]], tf.float16))
    assert directions.dtype == tf.float32
    np.testing.assert_allclose(directions, [[0.6, 0.8]], rtol=1e-6)


def test_the_root_of_zero_has_gradient_zero():
    squared = tf.constant([0.0, 4.0])
    with tf.GradientTape() as tape:
        tape.watch(squared)
        roots = safe_sqrt(squared)
    np.testing.assert_allclose(roots, [0.0, 2.0])
    np.testing.assert_allclose(tape.gradient(roots, squared), [0.0, 0.25])
