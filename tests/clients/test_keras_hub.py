"""Backbones of KerasHub itself, small and with random weights, are teachers as files and in memory."""

import json
import sys
import zipfile

import keras
import keras_hub
import numpy as np
import pytest

from kdistill import students
from kdistill.data import Image
from kdistill.errors import ArgumentError, KdistillError
from kdistill.runtimes.keras_models.keras_files import load_keras_file
from kdistill.teachers import open_teacher

SIDE = 32
SHAPE = (SIDE, SIDE, 3)
IMAGES = [Image(str(n), array=np.random.default_rng(n).integers(0, 256, SHAPE, np.uint8)) for n in range(5)]
UNIT = (np.stack([image.array for image in IMAGES]) / 255).astype(np.float32)
SMALL = {"patch_size": 8, "num_layers": 2, "num_heads": 2, "hidden_dim": 16}

# Name -> (how it is built, what the view tells of the pooling)
BACKBONES = {
    "ViT": (lambda: keras_hub.models.ViTBackbone(image_shape=SHAPE, mlp_dim=32, **SMALL), "/cls"),
    "DINOv2": (lambda: keras_hub.models.DINOV2Backbone(image_shape=SHAPE, intermediate_dim=32, **SMALL), "/cls"),
    "CLIP": (
        lambda: keras_hub.models.CLIPVisionEncoder(
            image_shape=SHAPE,
            intermediate_dim=32,
            intermediate_activation="quick_gelu",
            intermediate_output_index=None,
            **SMALL,
        ),
        "/cls",
    ),
    "SigLIP": (lambda: keras_hub.models.SigLIPVisionEncoder(image_shape=SHAPE, intermediate_dim=32, **SMALL), ""),
    "ResNet of open size": (
        lambda: keras_hub.models.ResNetBackbone(
            input_conv_filters=[64],
            input_conv_kernel_sizes=[7],
            stackwise_num_filters=[64, 128],
            stackwise_num_blocks=[1, 1],
            stackwise_num_strides=[1, 2],
            block_type="basic_block",
            image_shape=(None, None, 3),
        ),
        "/mean",
    ),
}


@pytest.mark.parametrize("name", BACKBONES)
def test_backbones(tmp_path, name):
    build, pooled = BACKBONES[name]
    keras.utils.set_random_seed(3)
    model = build()
    output = np.asarray(model({"images": UNIT} if isinstance(model.input, dict) else UNIT, training=False))
    expected = {"": lambda: output, "/cls": lambda: output[:, 0], "/mean": lambda: output.mean((1, 2))}[pooled]()
    assert np.ptp(expected, axis=0).max() > 1e-3  # images differ
    path = tmp_path / "backbone.keras"
    model.save(path)
    options = {"scaling": "unit", "image_size": SIDE}
    for teacher in (
        open_teacher(model, **options),
        open_teacher(path, trust_packages=["keras_hub"], **options),
    ):
        np.testing.assert_allclose(teacher.embed(IMAGES), expected, atol=1e-5)
        assert teacher.view == f"pillow-bilinear-{SIDE}/unit{pooled}"
    with pytest.raises(KdistillError, match=r"which is not imported; .* --trust_packages=keras_hub"):
        open_teacher(path, **options)


def test_a_preset_is_a_student_with_the_pixels_of_its_converter(tmp_path):
    keras.utils.set_random_seed(3)
    network = BACKBONES["ViT"][0]()
    pixels = np.stack([image.array for image in IMAGES])
    network.save_to_preset(tmp_path / "bare")
    with pytest.raises(ArgumentError, match=r"does not say on which scale .* --backbone_scaling"):
        students.build(f"kerashub:{tmp_path / 'bare'}", image_size=SIDE)
    said = students.build(f"kerashub:{tmp_path / 'bare'}", image_size=SIDE, embedding_dim=None, scaling="unit")
    network.save_to_preset(tmp_path / "whole")
    keras_hub.layers.ViTImageConverter(scale=[1 / 255, 1 / 128, 1 / 64], offset=-1.0).save_to_preset(tmp_path / "whole")
    found = {
        pooling: students.build(f"kerashub:{tmp_path / 'whole'}", image_size=SIDE, embedding_dim=None, pooling=pooling)
        for pooling in ("avg", "cls")
    }
    outputs = np.asarray(network((pixels * np.array([1 / 255, 1 / 128, 1 / 64]) - 1).astype(np.float32)))
    for student, expected in (
        (said, np.asarray(network(UNIT)).mean(1)),
        (found["avg"], outputs.mean(1)),
        (found["cls"], outputs[:, 0]),
    ):
        expected = expected / np.linalg.norm(expected, axis=1, keepdims=True)
        np.testing.assert_allclose(student.predict(pixels, verbose=0), expected, atol=1e-5)
    # The student's file brings KerasHub's classes along, which whoever opens it has to trust.
    found["cls"].save(tmp_path / "student.keras")
    with pytest.raises(KdistillError, match="--trust_packages=keras_hub"):
        load_keras_file(tmp_path / "student.keras")
    again = load_keras_file(tmp_path / "student.keras", ("keras_hub",))
    np.testing.assert_array_equal(again.predict(pixels, verbose=0), found["cls"].predict(pixels, verbose=0))
    assert students.at_batch(again, 1).input_shape == (1, SIDE, SIDE, 3)
    with pytest.raises(KdistillError, match="cannot be opened for images of 40 pixels"):
        students.build(f"kerashub:{tmp_path / 'whole'}", image_size=40)
    with pytest.raises(KdistillError, match="cannot be opened"):
        students.build(f"kerashub:{tmp_path / 'nowhere'}", image_size=SIDE)


def test_trust_ends_at_the_packages_own_classes(tmp_path):
    BACKBONES["ViT"][0]().save(tmp_path / "backbone.keras")
    with zipfile.ZipFile(tmp_path / "backbone.keras") as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    # A module of the package that has imported os.
    module = next(
        name for name, found in sys.modules.items() if name.startswith("keras_hub.") and "os" in vars(found or ())
    )
    content["config.json"] = json.dumps({**json.loads(content["config.json"]), "module": module, "class_name": "os"})
    with zipfile.ZipFile(tmp_path / "other.keras", "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    with pytest.raises(KdistillError, match=r"'os' of keras_hub.* which is no class of models or layers"):
        open_teacher(tmp_path / "other.keras", scaling="unit", trust_packages=["keras_hub"])
