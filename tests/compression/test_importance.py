"""Importances against loops over images and channels."""

import keras
import numpy as np
import tensorflow as tf
from trained import student_of

from kdistill.compression import by_loss, by_neighbours, by_output, channel_paths, compactors, insert_compactors


def _case():
    student, pixels = student_of("small_cnn", alpha=0.5, size=16, dim=6)
    teacher = np.random.default_rng(5).normal(size=(len(pixels), 5)).astype(np.float32)
    return insert_compactors(student), channel_paths(student), pixels, teacher


def test_neighbours_is_the_mean_share_of_the_cosine_with_the_teachers_neighbours():
    student, paths, pixels, teacher = _case()
    found = by_neighbours(student, paths, pixels, teacher, neighbours=2)
    unit = teacher / np.linalg.norm(teacher, axis=1, keepdims=True)
    for path in paths:
        maps = keras.Model(student.input, student.get_layer(path.followers[0]).output)(pixels).numpy()
        vectors = np.abs(maps).mean((1, 2))
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        expected = np.zeros(path.channels)
        for image in range(len(pixels)):
            others = [other for other in range(len(pixels)) if other != image]
            nearest = sorted(others, key=lambda other: -float(unit[image] @ unit[other]))[:2]
            for other in nearest:
                for channel in range(path.channels):
                    expected[channel] += abs(vectors[image, channel] * vectors[other, channel])
        np.testing.assert_allclose(found[path.producer], expected / expected.mean(), rtol=1e-3, atol=1e-5)


def test_loss_is_the_square_of_what_a_column_adds_to_first_order():
    student, paths, pixels, teacher = _case()

    def loss(answers, embeddings):
        return tf.reduce_mean((embeddings[:, :5] - answers) ** 2)

    found = by_loss(student, paths, pixels, teacher, loss)
    for name, compactor in compactors(student, paths).items():
        kernel, marks = (weight.copy() for weight in compactor.get_weights())
        # The derivative along each column of (1 + e) times that column, by central differences.
        for channel in range(0, kernel.shape[1], 5):
            values = []
            for change in (0.01, -0.01):
                moved = kernel.copy()
                moved[:, channel] *= 1 + change
                compactor.set_weights([moved, marks])
                values.append(float(loss(teacher, student(pixels))))
            compactor.set_weights([kernel, marks])
            slope = (values[0] - values[1]) / 0.02
            np.testing.assert_allclose(np.sqrt(found[name][channel]), abs(slope), rtol=0.05, atol=2e-4)


def test_output_is_the_share_of_the_variance_that_a_channel_adds_to_its_reader():
    student, paths, pixels, _ = _case()
    found = by_output(student, paths, pixels)
    for path in paths:
        reader = student.get_layer(path.consumer)
        maps = keras.Model(student.input, reader.input)(pixels).numpy()
        kernel = reader.get_weights()[0]
        expected = np.array(
            [maps[..., channel].var() * (kernel[..., channel, :] ** 2).sum() for channel in range(path.channels)]
        )
        np.testing.assert_allclose(found[path.producer], expected / expected.sum(), rtol=1e-3, atol=1e-6)
