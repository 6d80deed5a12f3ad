"""The compactor: identity at start, columns as output channels, gradients reset, columns closed."""

import numpy as np
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from kdistill.layers import Compactor


def _compactor(kernel, kept):
    compactor = Compactor()
    compactor.build((None, None, None, len(kept)))
    compactor.set_weights([np.asarray(kernel, np.float32), np.asarray(kept, np.float32)])
    return compactor


def test_it_starts_as_the_identity_without_bias():
    maps = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(np.float32)
    compactor = Compactor()
    np.testing.assert_array_equal(compactor(maps), maps)
    assert [tuple(weight.shape) for weight in compactor.trainable_weights] == [(5, 5)]


def test_output_channel_c_is_column_c_of_the_kernel():
    rng = np.random.default_rng(1)
    maps, kernel = rng.normal(size=(2, 2, 3, 4)).astype(np.float32), rng.normal(size=(4, 4))
    mixed = _compactor(kernel, np.ones(4))(maps).numpy()
    for b, y, x, c in np.ndindex(mixed.shape):
        expected = sum(maps[b, y, x, i] * kernel[i, c] for i in range(4))
        np.testing.assert_allclose(mixed[b, y, x, c], expected, atol=1e-5)


def test_reset_leaves_the_gradient_of_kept_columns_only():
    gradient = np.random.default_rng(2).normal(size=(3, 3)).astype(np.float32)
    kept = [1.0, 0.0, 1.0]
    expected = gradient.copy()
    for row in range(3):
        for column in range(3):
            if not kept[column]:
                expected[row, column] = 0.0
    np.testing.assert_array_equal(_compactor(np.eye(3), kept).reset(tf.constant(gradient)), expected)


def test_the_lasso_is_a_gradient_step_of_the_sum_of_norms_until_a_column_is_closed():
    kernel = np.array([[3.0, 0.6, 0.03], [4.0, 0.8, 0.04], [0.0, 0.0, 0.0]], np.float32)
    compactor = _compactor(kernel, [1, 0, 0])
    columns = tf.constant(kernel)
    with tf.GradientTape() as tape:
        tape.watch(columns)
        penalty = tf.reduce_sum(tf.norm(columns, axis=0))
    gradient = tape.gradient(penalty, columns).numpy()
    # By hand: (0.6, 0.8) has norm 1, so a step of 0.1 leaves nine tenths; (0.03, 0.04) has norm 0.05 and is closed.
    compactor.shrink(0.1)
    result = np.asarray(compactor.kernel)
    np.testing.assert_array_equal(result[:, 0], kernel[:, 0])
    np.testing.assert_allclose(result[:, 1], kernel[:, 1] - 0.1 * gradient[:, 1], atol=1e-6)
    np.testing.assert_allclose(result[:, 1], [0.54, 0.72, 0.0], atol=1e-6)
    np.testing.assert_array_equal(result[:, 2], 0.0)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.floats(-2, 2, width=32), min_size=4, max_size=4),
    st.lists(st.booleans(), min_size=2, max_size=2),
    st.floats(0.001, 3),
)
def test_norms_fall_by_the_step_and_never_below_zero(values, kept, step):
    compactor = _compactor(np.reshape(values, (2, 2)), kept)
    before = compactor.norms().numpy()
    compactor.shrink(step)
    expected = np.where(kept, before, np.maximum(before - step, 0))
    np.testing.assert_allclose(compactor.norms(), expected, atol=1e-5)
    assert np.isfinite(np.asarray(compactor.kernel)).all()
