"""The shrinking step: reset gradients, columns that end at zero, a distiller that survives a fresh process."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from trained import bars, student_of

from kdistill.compression import CapacityDistiller, insert_compactors, merge
from kdistill.errors import ArgumentError


def _distiller(**options):
    student, pixels = student_of("small_cnn", alpha=0.5, size=16, dim=6)
    distiller = CapacityDistiller(insert_compactors(student), **options)
    distiller.compile(keras.optimizers.SGD(0.1))
    teacher = np.random.default_rng(0).normal(size=(len(pixels), 5)).astype(np.float32)
    return distiller, pixels, teacher


def test_kept_columns_get_the_distillation_gradient_and_the_others_the_lasso_alone():
    distiller, pixels, teacher = _distiller(lasso=0.1)
    marks = np.random.default_rng(1).integers(0, 2, 32).astype(np.float32)
    for compactor in distiller.compactors:
        compactor.kept.assign(marks[: compactor.kept.shape[0]])
    before = [np.asarray(compactor.kernel).copy() for compactor in distiller.compactors]
    with tf.GradientTape() as tape:
        loss = distiller.joint_loss(teacher, distiller.student(pixels, training=True), training=True)
    gradients = tape.gradient(loss, [compactor.kernel for compactor in distiller.compactors])
    # Statistics moved in that forward pass; the step below is on the same batch, which alone normalises in training.
    distiller.fit(pixels, teacher, batch_size=len(pixels), shuffle=False, verbose=0)
    for compactor, old, gradient in zip(distiller.compactors, before, gradients, strict=True):
        new = np.asarray(compactor.kernel)
        assert np.abs(gradient).max() > 1e-4
        for column in range(old.shape[1]):
            if marks[column]:
                expected = old[:, column] - 0.1 * np.asarray(gradient)[:, column]
            else:
                expected = old[:, column] * (1 - 0.1 / np.linalg.norm(old[:, column]))
            np.testing.assert_allclose(new[:, column], expected, atol=1e-5)


def test_wrong_arguments_are_refused():
    student, _ = student_of("small_cnn", alpha=0.5, size=16, dim=6)
    with pytest.raises(ArgumentError, match="has no compactors"):
        CapacityDistiller(student)
    with pytest.raises(ArgumentError, match="above 0"):
        CapacityDistiller(insert_compactors(student), lasso=0)


@pytest.mark.both_stacks
@pytest.mark.long
def test_it_survives_saving_and_a_fresh_process(fresh, tmp_path):
    distiller, pixels, teacher = _distiller(lasso=0.03)
    distiller.compactors[0].kept.assign(np.arange(8) % 2)
    distiller.fit(pixels, teacher, epochs=2, verbose=0)
    distiller.save(tmp_path / "distiller.keras")
    np.save(tmp_path / "pixels.npy", pixels)
    code = (
        "import json, sys, keras, numpy as np, kdistill.compression\n"
        "model = keras.saving.load_model(sys.argv[1] + '/distiller.keras', compile=False)\n"
        "kept = np.asarray(model.compactors[0].kept).tolist()\n"
        "small = kdistill.compression.merge(model.student)\n"
        "pixels = np.load(sys.argv[1] + '/pixels.npy')\n"
        "outputs = [network(pixels).numpy().tolist() for network in (model.student, small)]\n"
        "print(json.dumps([model.lasso, kept, *outputs]))\n"
    )
    lasso, kept, embeddings, merged = json.loads(fresh(code, tmp_path).splitlines()[-1])
    assert lasso == 0.03
    assert kept == [0, 1] * 4
    np.testing.assert_allclose(embeddings, distiller.student(pixels), atol=1e-5)
    np.testing.assert_allclose(merged, embeddings, atol=1e-4)


def test_columns_that_are_not_kept_end_at_zero_so_merging_loses_nothing():
    pixels, labels = bars()
    student, _ = student_of("small_cnn", size=32, dim=6)
    teacher = np.eye(6, 8, dtype=np.float32)[labels]
    compacted = insert_compactors(student)
    distiller = CapacityDistiller(compacted, lasso=0.1)
    distiller.compile(keras.optimizers.Adam(1e-3))
    for compactor in distiller.compactors:
        compactor.kept.assign(np.arange(compactor.kept.shape[0]) % 3 == 0)
    distiller.fit(pixels, teacher, batch_size=24, epochs=5, verbose=0)
    for compactor in distiller.compactors:
        np.testing.assert_array_equal(np.asarray(compactor.norms()) == 0, np.asarray(compactor.kept) == 0)
    np.testing.assert_allclose(merge(compacted)(pixels), compacted(pixels), atol=1e-4)
