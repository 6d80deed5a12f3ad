"""A Keras student as a .tflite file: uint8 RGB in, L2-normalised embedding out, batch of one.

Why so: MediaPipe loads a uint8 model without metadata, the browser's runtime refuses an open batch axis, and
preprocessing inside the file leaves nothing for two runtimes to do differently (except the resize).
"""

import re
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from export.formats import checks, float_head, litert
from export.formats.flatbuffer import (
    add_metadata,
    name_signature,
    operator_names,
    read_model,
    refuse_unportable,
    shorten_names,
    write_model,
)
from export.formats.graph import GraphBuilder
from kdistill import students
from kdistill.console.quiet import quiet
from kdistill.errors import ArgumentError, KdistillError, first_line

CALIBRATED = ("int8", "int8_float_head")
CONVERTERS = ("tf", "litert")
PRECISIONS = ("float32", "float16", "dynamic_int8", *CALIBRATED)
MIN_CALIBRATION = 8
_SCOPE = r"[A-Za-z0-9.][A-Za-z0-9_.\\/>-]*"
"""Names that TensorFlow lets a variable of a SavedModel have; Keras lets layers have others, `_stem` for one."""


def export_tflite(
    student: Any,
    path: Path | str,
    *,
    precision: str = "float32",
    calibration: np.ndarray | None = None,
    metadata: dict[str, str] | None = None,
    converter: str = "tf",
) -> None:
    """Writes the student as one .tflite file, whole or not at all.

    Args:
        student: Functional model, `image` uint8 [batch, H, W, 3] to float32 [batch, D], L2-normalised.
        path: where to write.
        precision: "float32"; "float16" (weights of two bytes); "dynamic_int8" (weights of one byte, sums in
            float32); "int8" (weights and activations of one byte, the normalisation in float32); "int8_float_head"
            (the same up to the feature map; pooling and projection in float32 too, for GeM heads).
        calibration: uint8 [n, H, W, 3], real images whose activations set the ranges of both kinds of "int8".
        metadata: texts to store in the file.
        converter: "tf" for TensorFlow's own, "litert" for the one that needs no `tf.lite` (see `litert.py`).

    Raises:
        ArgumentError: an unknown precision or converter, or int8 without calibration images of the right shape.
        KdistillError: no student (see `checked_student`), the model needs operators that plain runtimes lack, the file
            does not give the student's embeddings, or the disk is full.
    """
    model = convert_student(student, precision=precision, calibration=calibration, converter=converter)
    refuse_unportable(model, str(path))
    add_metadata(model, metadata or {})
    reference = checks.reference_of(student, None if calibration is None else calibration[:MIN_CALIBRATION])
    write_model(model, path, check=lambda file: checks.check_tflite_student(file, str(path), reference, precision))


def convert_student(
    student: Any, *, precision: str = "float32", calibration: np.ndarray | None = None, converter: str = "tf"
) -> Any:
    """Returns the student as a `ModelT` with the signature `serving_default`; arguments as in `export_tflite`."""
    if precision not in PRECISIONS:
        raise ArgumentError(f"precision {precision!r} is not known; choose one of {', '.join(PRECISIONS)}")
    check_converter(converter)
    convert = litert.converted if converter == "litert" else _converted
    fixed = students.at_batch(students.in_float32(checked_student(student)), 1)
    if precision == "int8":
        images = checked_calibration(calibration, fixed.input_shape)
        model = convert(_before_normalisation(fixed, images), precision, images)
        _normalise_output(model)
    elif precision == "int8_float_head":
        images = checked_calibration(calibration, fixed.input_shape)
        backbone, head = float_head.split(fixed, images)
        model = float_head.join(convert(backbone, precision, images), convert(head, "float32", None))
    else:
        model = convert(fixed, precision, None)
    name_signature(model, inputs=["image"], outputs=["embedding"])
    return model


def _converted(fixed: Any, precision: str, calibration: np.ndarray | None) -> Any:
    """Returns a Keras model with a fixed batch as a `ModelT`; with calibration images its activations are int8."""
    converter = _converter_of(fixed)
    if precision != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if precision == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if calibration is not None:
        converter.representative_dataset = lambda: ([image[None]] for image in calibration)
    try:
        with quiet():
            model = read_model(bytes(converter.convert()))
    # The converter raises classes of its own, with its whole log as their text.
    except Exception as error:
        raise KdistillError(f"the model {fixed.name!r} cannot become TFLite: {first_line(error)}") from error
    if calibration is not None and "DEQUANTIZE" not in operator_names(model):
        raise KdistillError("the converter returned a float model although int8 was asked for")
    if calibration is not None:
        shorten_names(model)
    return model


def _converter_of(fixed: Any) -> Any:
    """Returns the converter of a Keras model; one with layers that no SavedModel may hold goes as a function."""
    names = [str(getattr(weight, "path", weight.name)).removesuffix(":0") for weight in fixed.weights]
    if all(re.fullmatch(_SCOPE, name) for name in names):
        return tf.lite.TFLiteConverter.from_keras_model(fixed)
    pixels = tf.TensorSpec(fixed.input_shape, fixed.inputs[0].dtype, name="image")

    @tf.function(input_signature=[pixels])
    def called(image: tf.Tensor) -> tf.Tensor:
        with tf.name_scope("student"):  # within a scope any name will do
            return fixed(image, training=False)

    return tf.lite.TFLiteConverter.from_concrete_functions([called.get_concrete_function()], fixed)


def _before_normalisation(model: Any, images: np.ndarray) -> Any:
    """Returns the model up to the input of its last layer, having checked that this layer only normalises.

    An int8 result of the normalisation would have steps of 1/128, a tenth of a typical coordinate.
    """
    raw = keras.Model(model.input, model.layers[-1].input)
    before, after = np.asarray(raw(images[:1])), np.asarray(model(images[:1]))
    if before.shape != after.shape or not np.allclose(before / np.linalg.norm(before), after, atol=1e-3):
        raise KdistillError(
            f"int8 needs a student whose last layer L2-normalises; {model.layers[-1].name!r} does something else"
        )
    return raw


def _normalise_output(model: Any) -> None:
    """Appends a float32 L2 normalisation to subgraph 0."""
    source = model.subgraphs.pop(0)
    builder = GraphBuilder(model, "main")
    (raw,) = builder.inline(source)
    shape = [int(size) for size in builder.graph.tensors[raw].shape]
    embedding = builder.tensor(shape, np.float32, "embedding")
    builder.operator("L2_NORMALIZATION", [raw], [embedding], "L2NormOptions")
    builder.graph.outputs = [embedding]


def check_converter(converter: str) -> None:
    """Raises ArgumentError for a name that is none of CONVERTERS."""
    if converter not in CONVERTERS:
        raise ArgumentError(f"converter {converter!r} is not known; choose one of {', '.join(CONVERTERS)}")


def checked_student(student: Any) -> Any:
    """Returns a Keras model after a look at its input and output.

    Raises:
        KdistillError: it does not take `image` uint8 [batch, S, S, 3], or does not give [batch, D].
    """
    students.image_size(student)
    students.embedding_dim(student)
    dtype = tf.as_dtype(student.inputs[0].dtype).name
    if dtype != "uint8":
        raise KdistillError(
            f"the model {student.name!r} takes {dtype} pixels; a student takes uint8 and scales them inside"
        )
    return student


def checked_calibration(images: np.ndarray | None, input_shape: tuple[int, ...]) -> np.ndarray:
    """Returns calibration images that fit a model with this input shape.

    Raises:
        ArgumentError: too few, or of another shape or type.
    """
    if images is None or len(images) < MIN_CALIBRATION:
        given = 0 if images is None else len(images)
        raise ArgumentError(f"int8 needs at least {MIN_CALIBRATION} calibration images, {given} were given")
    if images.dtype != np.uint8 or images.shape[1:] != tuple(input_shape[1:]):
        raise ArgumentError(
            f"calibration images must be uint8 {list(input_shape[1:])}, "
            f"these are {images.dtype} {list(images.shape[1:])}"
        )
    return images
