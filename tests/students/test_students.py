"""Students: names, shapes, norms, and weights that survive a change of size, of batch, or of file."""

import keras
import numpy as np
import pytest

from kdistill import students
from kdistill.errors import ArgumentError, KdistillError


def _pixels(size, count=3):
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), np.uint8)


@pytest.mark.parametrize("pooling", ["avg", "gem"])
@pytest.mark.parametrize(("backbone", "alpha"), [("small_cnn", 0.5), ("mobilenet_v2", 0.35)])
def test_pixels_in_unit_vectors_out(backbone, alpha, pooling):
    student = students.build(backbone, alpha=alpha, image_size=32, embedding_dim=16, pooling=pooling)
    # With the batch's own statistics: fresh ones let the signal of a deep, untrained network die out.
    embeddings = student(_pixels(32), training=True).numpy()
    assert embeddings.shape == (3, 16)
    assert embeddings.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-5)
    assert students.image_size(student) == 32
    assert students.embedding_dim(student) == 16


def test_other_sizes_and_batches_share_the_weights():
    student = students.build("small_cnn", alpha=0.5, image_size=16, embedding_dim=8)
    pixels = _pixels(16)
    np.testing.assert_allclose(students.at_batch(student, 1)(pixels[:1]), student(pixels)[:1], atol=1e-6)
    larger = students.at_size(student, 32)
    assert larger.input_shape == (None, 32, 32, 3)
    for mine, theirs in zip(student.get_weights(), larger.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_weights_file_is_loaded_and_a_foreign_one_refused(tmp_path):
    source = keras.applications.MobileNet(alpha=0.25, include_top=False, weights=None, input_shape=(32, 32, 3))
    file = tmp_path / "backbone.weights.h5"
    source.save_weights(file)
    student = students.build("mobilenet_v1", alpha=0.25, image_size=32, embedding_dim=4, weights=str(file))
    np.testing.assert_array_equal(student.get_weights()[0], source.get_weights()[0])
    with pytest.raises(KdistillError, match="do not fit mobilenet_v1"):
        students.build("mobilenet_v1", alpha=0.5, image_size=32, weights=str(file))
    with pytest.raises(KdistillError, match="do not exist"):
        students.build("mobilenet_v1", alpha=0.5, image_size=32, weights="nowhere.weights.h5")


def test_unknown_names_and_sizes():
    with pytest.raises(ArgumentError, match="backbone 'vgg' is unknown; choose one of small_cnn"):
        students.build("vgg")
    with pytest.raises(ArgumentError, match="pooling 'max' is unknown"):
        students.build("small_cnn", pooling="max")
    with pytest.raises(ArgumentError, match="32 or more"):
        students.build("mobilenet_v2", image_size=31)


def test_projection_starts_at_the_principal_directions():
    student = students.build("small_cnn", alpha=0.25, image_size=16, embedding_dim=4)
    features = np.random.default_rng(1).normal(size=(50, 16)).astype(np.float32)
    features[:, 3] *= 10  # the first direction is this axis
    students.initialise_projection(student, features)
    kernel = student.get_layer("projection").get_weights()[0]
    assert abs(kernel[3, 0]) > 0.99
    np.testing.assert_allclose(kernel.T @ kernel, np.eye(4), atol=1e-5)


def test_projection_keeps_its_random_start_where_the_images_are_too_few():
    student = students.build("small_cnn", alpha=0.25, image_size=16, embedding_dim=8)
    before = student.get_layer("projection").get_weights()[0]
    students.initialise_projection(student, np.eye(3, 16, dtype=np.float32))
    after = student.get_layer("projection").get_weights()[0]
    np.testing.assert_array_equal(after[:, 3:], before[:, 3:])
    assert not np.allclose(after[:, :3], before[:, :3])


def test_pooled_features_share_the_weights():
    student = students.build("small_cnn", alpha=0.25, image_size=16, embedding_dim=4)
    features = students.pooled_features(student)
    assert features.output_shape == (None, 16)
    assert len(features.trainable_variables) == len(student.trainable_variables) - 1


def test_saved_student_loads_in_a_fresh_process_that_imports_only_kdistill(fresh, tmp_path):
    student = students.build("small_cnn", alpha=0.25, image_size=16, embedding_dim=4, pooling="gem")
    student.save(tmp_path / "student.keras")
    np.save(tmp_path / "pixels.npy", _pixels(16))
    code = (
        "import sys, keras, numpy as np, kdistill\n"
        "student = keras.saving.load_model(sys.argv[1] + '/student.keras', compile=False)\n"
        "np.save(sys.argv[1] + '/out.npy', student(np.load(sys.argv[1] + '/pixels.npy')))\n"
    )
    fresh(code, tmp_path)
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), student(_pixels(16)), atol=1e-6)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_a_student_in_half_precision_and_back(policy, tmp_path):
    inner = keras.Input((24, 24, 3))
    features = keras.layers.Conv2D(6, 3)(keras.layers.Rescaling(1 / 255)(inner))
    keras.Model(inner, keras.layers.BatchNormalization()(features)).save(tmp_path / "net.keras")
    for backbone in ("small_cnn", str(tmp_path / "net.keras")):
        student = students.build(backbone, image_size=24, embedding_dim=8, pooling="gem")
        half = students.in_precision(student, policy)
        by_name = {layer.name: layer for layer in half._flatten_layers()}
        assert by_name["projection"].compute_dtype == policy.removeprefix("mixed_")
        assert by_name["projection"].kernel.dtype == by_name["embedding"].compute_dtype == "float32"
        kinds = {type(layer).__name__: layer.compute_dtype for layer in half._flatten_layers()}
        assert kinds["Conv2D"] == kinds["BatchNormalization"] == policy.removeprefix("mixed_")
        pixels = np.random.default_rng(0).integers(0, 256, (4, 24, 24, 3), np.uint8)
        expected = student.predict(pixels, verbose=0)
        found = half.predict(pixels, verbose=0)
        assert 0 < np.abs(found - expected).max() < 0.05
        np.testing.assert_array_equal(students.in_float32(half).predict(pixels, verbose=0), expected)
    assert students.in_precision(student, "float32") is student
