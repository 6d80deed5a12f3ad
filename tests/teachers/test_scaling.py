"""The scale of pixels is read from the model, or named; it is never guessed, and a wrong one is noticed."""

import keras
import numpy as np
import pytest
from absl import logging
from onnx import TensorProto, helper, save

from export.formats.onnx import export_onnx
from export.formats.tflite import export_tflite
from kdistill import students
from kdistill.data import Image
from kdistill.errors import ArgumentError
from kdistill.runtimes.image_model import ImageInput, ImageModel
from kdistill.teachers import open_teacher
from kdistill.teachers.providers.model import ModelTeacher
from kdistill.teachers.providers.preprocessing import choose_scaling

SIZE = 8
layers = keras.layers


def model(first=(), *, dtype="float32"):
    image = keras.Input((SIZE, SIZE, 3), dtype=dtype)
    x = image
    for layer in first:
        x = layer(x)
    return keras.Model(image, layers.GlobalAveragePooling2D()(layers.Conv2D(2, 3)(x)))


def sequential(*first):
    tail = [layers.Conv2D(2, 3), layers.GlobalAveragePooling2D()]
    return keras.Sequential([keras.Input((SIZE, SIZE, 3)), *first, *tail])


def inner(*first):
    return keras.Sequential([keras.Input((SIZE, SIZE, 3)), *first])


def model_of(layer):
    image = keras.Input((SIZE, SIZE, 3))
    return keras.Model(image, layers.Conv2D(3, 1)(layer(image)))


def adapted(white):
    normalization = layers.Normalization()
    normalization.adapt(np.random.default_rng(0).uniform(0, white, (4, SIZE, SIZE, 3)).astype(np.float32))
    return normalization


KNOWN = {
    "bytes": lambda: model([layers.Rescaling(1 / 255)], dtype="uint8"),
    "rescaling": lambda: model([layers.Rescaling(1 / 255)]),
    "normalization": lambda: model([layers.Normalization(mean=[120.0] * 3, variance=[3600.0] * 3)]),
    "adapted normalization": lambda: model([adapted(255.0)]),
    "mean taken off": lambda: model([lambda x: x - np.array([103.9, 116.8, 123.7], np.float32)]),
    "mean and deviation": lambda: model([lambda x: (x / 255.0 - np.array([0.4, 0.5, 0.6], np.float32)) / 0.25]),
    "two steps": lambda: model([layers.Rescaling(1 / 255), layers.Rescaling(2.0, offset=-1.0)]),
    "one number a channel": lambda: model([layers.Rescaling([0.017, 0.0175, 0.0174], offset=[-2.1, -2.0, -1.8])]),
    "after a flip and a crop": lambda: model([layers.RandomFlip(), layers.CenterCrop(6, 6), layers.Rescaling(1 / 255)]),
    "sequential": lambda: sequential(layers.Rescaling(1 / 127.5, offset=-1)),
    "in a model in the model": lambda: model([inner(layers.Rescaling(1 / 255), layers.Conv2D(3, 1))]),
    "in a functional model in the model": lambda: sequential(model_of(layers.Rescaling(1 / 255))),
    "arithmetic": lambda: model([lambda x: x / 127.5 - 1.0]),
    "MobileNetV3": lambda: keras.applications.MobileNetV3Small(
        (32, 32, 3), weights=None, include_top=False, pooling="avg", include_preprocessing=True
    ),
    "EfficientNet": lambda: keras.applications.EfficientNetB0(
        input_shape=(32, 32, 3), weights=None, include_top=False, pooling="avg"
    ),
}

SILENT = {
    "convolution": lambda: model(),
    "sequential": lambda: sequential(),
    "flip alone": lambda: model([layers.RandomFlip()]),
    "from unit": lambda: model([layers.Rescaling(2.0, offset=-1.0)]),
    "from unit to pixels": lambda: model([layers.Rescaling(255.0)]),
    "from symmetric": lambda: model([layers.Rescaling(127.5, offset=127.5)]),
    "from unit by arithmetic": lambda: model([lambda x: x * 2.0 - 1.0]),
    "from unit, mean and deviation": lambda: model([lambda x: (x - 0.45) / 0.225]),
    "from unit, normalization": lambda: model([layers.Normalization(mean=[0.45] * 3, variance=[0.05] * 3)]),
    "from unit, adapted normalization": lambda: model([adapted(1.0)]),
    "rescaled by 1": lambda: model([layers.Rescaling(1.0)]),
    "one divided by pixels": lambda: model([lambda x: 255.0 / (x + 1.0)]),
    "relu first": lambda: model([layers.Activation("relu"), layers.Rescaling(1 / 255)]),
    "rescaled after a convolution": lambda: model([layers.Conv2D(3, 1), layers.Rescaling(1 / 255)]),
    "on one of two ways": lambda: model([lambda x: layers.Add()([layers.Rescaling(1 / 255)(x), x])]),
    "MobileNetV2": lambda: keras.applications.MobileNetV2((32, 32, 3), weights=None, include_top=False, pooling="avg"),
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.long) if name == "EfficientNet" else name for name in KNOWN]
)
def test_a_keras_model_that_rescales_itself(name, tmp_path):
    network = KNOWN[name]()
    assert open_teacher(network).view.endswith("/none")
    if name in ("rescaling", "sequential", "in a functional model in the model", "adapted normalization"):
        network.save(tmp_path / "m.keras")
        assert open_teacher(tmp_path / "m.keras").view == f"pillow-bilinear-{SIZE}/none"


@pytest.mark.parametrize("name", SILENT)
def test_a_keras_model_that_does_not_say(name):
    network = SILENT[name]()
    with pytest.raises(ArgumentError, match=r"--teacher_scaling=none .* unit .* symmetric .* torch"):
        open_teacher(network)
    assert open_teacher(network, scaling="symmetric").view.endswith("/symmetric")


@pytest.mark.parametrize(
    ("dtype", "quantization", "expected"),
    [
        (np.uint8, (0.0, 0), "none"),
        (np.uint8, (1.0, 0), "none"),
        (np.int8, (1.0, -128), "none"),
        (np.uint8, (1 / 255, 0), "unit"),
        (np.int8, (1 / 255, -128), "unit"),
        (np.uint8, (1 / 127.5, 128), "symmetric"),
        (np.int8, (2 / 255, -1), "symmetric"),
        (np.uint8, (4.758 / 255, 114), "torch"),
        (np.uint8, (0.03, 0), None),
        (np.float32, (0.0, 0), None),
        (np.float16, (0.0, 0), None),
    ],
)
def test_the_range_of_a_quantised_input_names_the_scale(dtype, quantization, expected):
    source = ImageInput(SIZE, np.dtype(dtype), quantization=quantization)
    opened = ImageModel(source, lambda images: images)
    if expected is None:
        with pytest.raises(ArgumentError, match="m does not say on which scale"):
            choose_scaling(opened, "auto", "m")
    else:
        assert choose_scaling(opened, "auto", "m") == expected


def test_our_own_students_need_no_scaling(tmp_path):
    keras.utils.set_random_seed(0)
    student = students.build("small_cnn", image_size=16, embedding_dim=6)
    student.save(tmp_path / "s.keras")
    export_onnx(student, tmp_path / "s.onnx")
    export_tflite(student, tmp_path / "s.tflite")
    for suffix in ("keras", "onnx", "tflite"):
        assert open_teacher(tmp_path / f"s.{suffix}").view == "pillow-bilinear-16/none"
        with pytest.raises(ArgumentError, match="must be 'none', not 'symmetric'"):
            open_teacher(tmp_path / f"s.{suffix}", scaling="symmetric")


def test_a_float_onnx_does_not_say(tmp_path):
    shape = ["batch", SIZE, SIZE, 3]
    graph = helper.make_graph(
        [helper.make_node("ReduceMean", ["image"], ["embedding"], axes=[1, 2], keepdims=0)],
        "g",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", 3])],
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), tmp_path / "m.onnx")
    with pytest.raises(ArgumentError, match=r"m\.onnx does not say on which scale"):
        open_teacher(tmp_path / "m.onnx")


def images(count: int, seed: int = 0) -> list[Image]:
    random = np.random.default_rng(seed)
    return [Image(f"{n}", array=random.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)) for n in range(count)]


def warned(caplog, batches, *, constant: bool) -> list[str]:
    """Asks about batches of images a model that gives pixels, or one vector with a little noise."""

    def run(pixels):
        rows = pixels.reshape(len(pixels), -1).astype(np.float32) - 128
        return np.ones((len(pixels), 4), np.float32) + 1e-4 * rows[:, :4] if constant else rows

    caplog.clear()
    opened = ImageModel(ImageInput(SIZE, np.dtype(np.float32)), run)
    teacher = ModelTeacher(opened, "the teacher m", name="m@0", scaling="none")
    with caplog.at_level("WARNING", logger=logging.get_absl_logger().name):
        for batch in batches:
            teacher.embed(batch)
    return [record.getMessage() for record in caplog.records]


def test_answers_that_coincide_are_told_once(caplog):
    for batches in ([images(8)], [images(8)] * 3, [[image] for image in images(8)], [images(4), images(40, 1)]):
        (message,) = warned(caplog, batches, constant=True)
        assert "the teacher m gives nearly the same vector" in message
        assert "wrong scale (now none; see --teacher_scaling) or the model is constant" in message


def test_answers_that_differ_and_images_that_do_not_are_not_told(caplog):
    assert warned(caplog, [images(8), images(20, 1)], constant=False) == []
    assert warned(caplog, [images(1) * 10] * 3, constant=True) == []  # one image, asked about again and again
    assert warned(caplog, [images(3)], constant=True) == []  # too few to say
