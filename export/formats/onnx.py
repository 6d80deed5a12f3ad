"""A Keras student as an .onnx file, for servers and for everything that reads ONNX."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import tensorflow as tf

from export.formats.onnx_precision import to_float16, to_int8
from export.formats.tflite import checked_calibration
from export.search.onnx_search import OPSET
from kdistill.console.quiet import quiet
from kdistill.errors import ArgumentError
from kdistill.files.whole import whole_file

PRECISIONS = ("float32", "float16", "int8")


def export_onnx(
    student: Any,
    path: Path | str,
    *,
    batch: int | None = None,
    precision: str = "float32",
    calibration: np.ndarray | None = None,
    metadata: dict[str, str] | None = None,
) -> None:
    """Writes the student as ONNX, checked by `onnx.checker`, whole or not at all.

    Args:
        student: Functional model, `image` uint8 [batch, H, W, 3] to float32 [batch, D].
        path: where to write.
        batch: a fixed number of images; None leaves the axis open under the name `batch`.
        precision: "float32", "float16" or "int8" (weights and activations, by ONNX Runtime's static quantiser).
        calibration: uint8 [n, H, W, 3], real images whose activations set the ranges of "int8".
        metadata: texts for the file's metadata_props.

    Raises:
        ArgumentError: an unknown precision, or "int8" without calibration images of the right shape.
    """
    model = convert_student(student, batch=batch, precision=precision, calibration=calibration)
    onnx.helper.set_model_props(model, metadata or {})
    onnx.checker.check_model(model, full_check=True)
    with whole_file(path) as temporary:
        onnx.save(model, str(temporary))


def convert_student(
    student: Any, *, batch: int | None = None, precision: str = "float32", calibration: np.ndarray | None = None
) -> onnx.ModelProto:
    """Returns the student as a graph; arguments as in `export_onnx`."""
    if precision not in PRECISIONS:
        raise ArgumentError(f"ONNX precision {precision!r} is not known; choose one of {', '.join(PRECISIONS)}")
    images = checked_calibration(calibration, student.input_shape) if precision == "int8" else None
    with quiet():
        import tf2onnx  # slow, and its loggers print

    signature = (tf.TensorSpec((batch, *student.input_shape[1:]), tf.uint8, name="image"),)

    @tf.function(input_signature=signature)
    def embed(image: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"embedding": student(image, training=False)}

    with quiet():
        model, _ = tf2onnx.convert.from_function(embed, input_signature=signature, opset=OPSET)
    if precision == "float16":
        model = to_float16(model)
    if images is not None:
        model = to_int8(model, images)
    for value in (*model.graph.input, *model.graph.output):
        axis = value.type.tensor_type.shape.dim[0]
        if batch is None:
            axis.dim_param = "batch"
        else:
            axis.dim_value = batch
    # Shapes in the middle still carry the converter's own name for the axis.
    del model.graph.value_info[:]
    return model
