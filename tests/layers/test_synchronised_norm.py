"""One replica: the layer is Keras's own. Two replicas are compared with one in tests/test_distributed.py."""

import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf

from kdistill import students
from kdistill.layers import SynchronisedBatchNormalization
from kdistill.training.distribution import copy_of

ROWS = np.random.default_rng(0).normal(3.0, 2.0, (6, 4, 4, 5)).astype(np.float32)


def _step(kind, rows, **options):
    """Returns output, gradients of a weighted sum and what the layer remembers after one step of training."""
    layer = kind(momentum=0.8, **options)
    layer.build(rows.shape)
    layer.set_weights([weight + 0.1 * number for number, weight in enumerate(layer.get_weights(), start=1)])
    inputs = tf.constant(rows)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        output = layer(inputs, training=True)
        weighted = tf.reduce_sum(output * tf.reshape(tf.range(tf.size(output), dtype=output.dtype), output.shape) / 100)
    gradients = tape.gradient(weighted, [inputs, *layer.trainable_variables])
    return [output, *gradients, *layer.get_weights(), layer(inputs, training=False)]


@pytest.mark.parametrize(
    ("rows", "options"),
    [
        (ROWS, {}),
        (ROWS[:, 0, 0], {}),
        (ROWS, {"axis": 1}),
        (ROWS, {"scale": False}),
        (ROWS, {"center": False, "epsilon": 0.1}),
        (ROWS.astype(np.float64), {"dtype": "float64"}),
    ],
    ids=["images", "vectors", "channels_first", "no_scale", "no_center", "float64"],
)
def test_one_replica_does_what_keras_does(rows, options):
    expected, found = (
        _step(kind, rows, **options) for kind in (keras.layers.BatchNormalization, SynchronisedBatchNormalization)
    )
    assert len(found) == len(expected)
    for ours, keras_own in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, keras_own, rtol=2e-4, atol=2e-4)


def test_half_precision_keeps_its_type_and_takes_statistics_in_float32():
    layer = SynchronisedBatchNormalization(dtype="mixed_float16")
    output = layer(tf.constant(1000 * ROWS, tf.float16), training=True)
    assert output.dtype == tf.float16
    np.testing.assert_allclose(np.std(np.asarray(output, np.float32), axis=(0, 1, 2)), 1.0, atol=0.01)


def test_a_frozen_layer_keeps_what_it_remembers():
    layer = SynchronisedBatchNormalization()
    layer.trainable = False
    np.testing.assert_allclose(layer(ROWS, training=True), ROWS / np.sqrt(1.001), rtol=1e-5)
    np.testing.assert_array_equal(layer.get_weights()[2], np.zeros(5))


def test_a_student_takes_the_layer_in_for_the_training_and_is_delivered_without_it(tmp_path):
    student = students.build("small_cnn", alpha=0.25, image_size=16, embedding_dim=4)
    student.get_layer("norm_1").trainable = False
    training = copy_of(student, synchronised=True)
    norms = [layer for layer in training.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert [type(norm) for norm in norms] == [SynchronisedBatchNormalization] * 3
    assert [norm.trainable for norm in norms] == [True, False, True]
    # A run's own files may hold it.
    training.save(tmp_path / "training.keras")
    again = keras.models.load_model(tmp_path / "training.keras", compile=False)
    assert type(again.get_layer("norm_0")) is SynchronisedBatchNormalization
    delivered = copy_of(training, synchronised=False)
    assert [type(delivered.get_layer(f"norm_{stage}")) for stage in range(3)] == [keras.layers.BatchNormalization] * 3
    images = np.random.default_rng(1).integers(0, 256, (2, 16, 16, 3), np.uint8)
    np.testing.assert_allclose(delivered(images), student(images), atol=1e-6)
    delivered.save(tmp_path / "delivered.keras")
    assert b"kdistill" not in _configuration(tmp_path / "delivered.keras")


def _configuration(path):
    with zipfile.ZipFile(path) as archive:
        return archive.read("config.json")
