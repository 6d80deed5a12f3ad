"""Networks of `keras.applications` as students: all of them by name, each with the pixels that it was trained with."""

import keras
import numpy as np
import pytest

from kdistill import students
from kdistill.errors import ArgumentError
from kdistill.facts.applications import APPLICATIONS
from kdistill.facts.students import facts_of
from kdistill.runtimes.keras_models.keras_files import load_keras_file

MODULES = {
    "VGG16": "vgg16",
    "DenseNet121": "densenet",
    "MobileNetV3Small": "mobilenet_v3",
    "EfficientNetV2B0": "efficientnet_v2",
}
"""A network of each scale, and the module with its `preprocess_input`."""


def test_the_table_has_the_networks_of_keras():
    offered = {name for name in dir(keras.applications) if name[0].isupper()}
    # Keras 3 has no RegNet and no ResNet-RS any more.
    older = {name for name in offered if name.startswith(("RegNet", "ResNetRS"))}
    assert offered - older == APPLICATIONS.keys()


@pytest.mark.parametrize("name", ["vgg", "efficientnet_v2_b0", ""])
def test_an_unknown_name_is_refused_with_the_nearest(name):
    with pytest.raises(ArgumentError, match=r"is unknown; choose one of .*keras\.applications by its name there"):
        students.build(name)


@pytest.mark.parametrize(
    ("name", "size", "what"),
    [("Xception", 70, "takes 71 or more"), ("EfficientNetV2B0", 31, "takes 32 or more")],
)
def test_too_small_photos_are_refused(name, size, what):
    with pytest.raises(ArgumentError, match=what):
        students.build(name, image_size=size)


def test_they_have_one_width():
    with pytest.raises(ArgumentError, match="ResNet50 has one width"):
        students.build("ResNet50", alpha=0.5)


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.long
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.both_stacks if "VGG" in name else ()) for name in MODULES]
)
def test_pixels_arrive_as_preprocess_input_gives_them(name, tmp_path):
    """The student's features are those of Keras's own network behind its own preprocessing, at an odd size too."""
    keras.utils.set_random_seed(1)
    size = max(facts_of(name).smallest, 45)
    pixels = np.random.default_rng(0).integers(0, 256, (3, size, size, 3), np.uint8)
    network = getattr(keras.applications, name)(
        include_top=False, weights=None, input_shape=(size, size, 3), pooling="avg"
    )
    network.save_weights(tmp_path / "network.weights.h5")
    preprocess = getattr(keras.applications, MODULES[name]).preprocess_input
    expected = _unit(network(preprocess(pixels.astype(np.float32)), training=False).numpy())
    student = students.build(name, image_size=size, embedding_dim=None, weights=str(tmp_path / "network.weights.h5"))
    found = student(pixels, training=False).numpy()
    # Random weights of some networks leave features so small that a student's own normalisation leaves them short.
    np.testing.assert_allclose(_unit(found), expected, atol=1e-4)
    # Blue first is another network.
    turned = student(pixels[..., ::-1], training=False).numpy()
    assert np.abs(_unit(turned) - expected).max() > 1e-3


@pytest.mark.long
def test_a_saved_student_is_the_same_network(tmp_path):
    keras.utils.set_random_seed(1)
    student = students.build("EfficientNetV2B0", image_size=45, embedding_dim=4)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 45, 45, 3), np.uint8)
    student.save(tmp_path / "student.keras")
    again = load_keras_file(tmp_path / "student.keras")
    np.testing.assert_array_equal(again(pixels, training=False), student(pixels, training=False))
