"""GeM against its formula, at its limits, and in half precision."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kdistill.errors import ArgumentError
from kdistill.layers import GeM

FEATURES = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype("float32")


@pytest.mark.parametrize("p", [1.0, 2.5, 3.0])
def test_it_is_the_generalised_mean(p):
    expected = np.mean(np.maximum(FEATURES, 1e-6) ** p, axis=(1, 2)) ** (1 / p)
    np.testing.assert_allclose(GeM(p)(FEATURES), expected, rtol=1e-5)


def test_a_large_exponent_comes_close_to_the_maximum():
    np.testing.assert_allclose(GeM(60.0)(FEATURES), FEATURES.max(axis=(1, 2)), rtol=0.05)


def test_scaling_the_input_scales_the_output():
    np.testing.assert_allclose(GeM()(7 * np.abs(FEATURES)), 7 * GeM()(np.abs(FEATURES)), rtol=1e-5)


def test_the_exponent_is_trained_with_finite_gradients_also_on_zeros():
    layer = GeM()
    features = tf.constant(np.concatenate([FEATURES, np.zeros_like(FEATURES)]))
    with tf.GradientTape() as tape:
        tape.watch(features)
        total = tf.reduce_sum(layer(features))
    gradients = tape.gradient(total, [features, *layer.trainable_variables])
    assert len(gradients) == 2
    assert all(np.all(np.isfinite(gradient)) for gradient in gradients)


def test_a_fixed_exponent_is_no_trainable_weight():
    layer = GeM(learn_p=False)
    layer(FEATURES)
    assert not layer.trainable_weights


def test_half_precision_does_not_overflow():
    # 100 cubed is beyond the largest float16.
    layer = GeM(dtype="mixed_float16")
    pooled = layer(tf.fill((1, 2, 2, 1), tf.constant(100.0, tf.float16)))
    assert pooled.dtype == tf.float16
    np.testing.assert_allclose(pooled, [[100.0]], rtol=1e-3)
    assert layer.get_weights()[0].dtype == np.float32


def test_a_model_with_it_is_rebuilt_from_its_config():
    image = keras.Input((3, 4, 5))
    model = keras.Model(image, GeM(2.0, epsilon=1e-3)(image))
    rebuilt = keras.Model.from_config(model.get_config())
    assert model.output_shape == (None, 5)
    np.testing.assert_allclose(rebuilt(FEATURES), model(FEATURES))


@pytest.mark.parametrize("options", [{"p": 0.0}, {"epsilon": 0.0}])
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ArgumentError):
        GeM(**options)
