"""The hash head against its formula, in half precision, and in a fresh process."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kdistill import students
from kdistill.errors import ArgumentError, KdistillError
from kdistill.layers.hash_head import HashHead

FEATURES = np.random.default_rng(0).normal(size=(5, 12)).astype("float32")


def with_random_weights(head: HashHead) -> list[np.ndarray]:
    head(FEATURES)
    weights = [np.random.default_rng(1).normal(size=weight.shape).astype("float32") for weight in head.get_weights()]
    head.set_weights(weights)
    return weights


def test_it_is_linear_then_layer_norm_then_tanh():
    head = HashHead(16)
    kernel, gamma, beta = with_random_weights(head)
    expected = np.empty((5, 16))
    for row in range(5):
        projected = [sum(FEATURES[row, c] * kernel[c, k] for c in range(12)) for k in range(16)]
        mean = sum(projected) / 16
        deviation = (sum((value - mean) ** 2 for value in projected) / 16 + 1e-5) ** 0.5
        expected[row] = [np.tanh(gamma[k] * (projected[k] - mean) / deviation + beta[k]) for k in range(16)]
    np.testing.assert_allclose(head(FEATURES), expected, rtol=1e-4, atol=1e-5)


def test_the_length_of_the_features_does_not_matter():
    head = HashHead(16)
    with_random_weights(head)
    np.testing.assert_allclose(head(1000 * FEATURES), head(FEATURES), atol=1e-3)


def test_features_of_zero_have_finite_codes_and_gradients():
    head = HashHead(8)
    features = tf.zeros((2, 12))
    with tf.GradientTape() as tape:
        tape.watch(features)
        total = tf.reduce_sum(head(features))
    assert all(np.isfinite(gradient).all() for gradient in tape.gradient(total, [features, *head.trainable_variables]))


def test_half_precision_keeps_codes_close():
    exact, half = HashHead(16), HashHead(16, dtype="mixed_float16")
    weights = with_random_weights(exact)
    half(FEATURES)
    half.set_weights(weights)
    codes = half(FEATURES)
    assert codes.dtype == tf.float16
    np.testing.assert_allclose(codes, exact(FEATURES), atol=0.03)


@pytest.mark.parametrize("bits", [0, 4, 20])
def test_lengths_that_do_not_pack_are_refused(bits):
    with pytest.raises(ArgumentError, match=f"multiple of 8, {bits} was given"):
        HashHead(bits)


@pytest.mark.both_stacks
@pytest.mark.long
def test_a_saved_student_gives_the_same_codes_in_a_fresh_process(fresh, tmp_path):
    keras.utils.set_random_seed(0)
    student = students.build("small_cnn", image_size=16, embedding_dim=12, hash_bits=16)
    images = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3)).astype(np.uint8)
    expected = np.asarray(student.predict(images, verbose=0))
    np.testing.assert_allclose(np.linalg.norm(expected, axis=1), 1, rtol=1e-5)
    student.save(tmp_path / "student.keras")
    np.save(tmp_path / "images.npy", images)
    program = (
        "import sys, keras, numpy as np, kdistill.students\n"
        "student = keras.saving.load_model(sys.argv[1] + '/student.keras', compile=False)\n"
        "images = np.load(sys.argv[1] + '/images.npy')\n"
        "np.save(sys.argv[1] + '/codes.npy', student.predict(images, verbose=0))\n"
    )
    fresh(program, tmp_path)
    np.testing.assert_allclose(np.load(tmp_path / "codes.npy"), expected, atol=1e-6)


def test_a_student_starts_from_a_distilled_one_without_codes(tmp_path):
    keras.utils.set_random_seed(0)
    source = students.build("small_cnn", image_size=16, embedding_dim=12)
    source.save(tmp_path / "student.keras")
    student = students.build(
        "small_cnn", image_size=32, embedding_dim=12, hash_bits=16, weights=str(tmp_path / "student.keras")
    )
    for name in ("conv_0", "norm_2", "projection"):
        for own, given in zip(student.get_layer(name).get_weights(), source.get_layer(name).get_weights(), strict=True):
            np.testing.assert_array_equal(own, given)
    with pytest.raises(KdistillError, match="the layer 'projection' differs"):
        students.build("small_cnn", image_size=16, embedding_dim=8, weights=str(tmp_path / "student.keras"))
    with pytest.raises(KdistillError, match="no readable student"):
        students.build("small_cnn", image_size=16, weights=str(tmp_path / "missing.keras"))
