"""A Keras student as an .onnx file, for servers and for everything that reads ONNX."""

from pathlib import Path
from typing import Any

import onnx
import tensorflow as tf

from export.files import whole_file
from export.quiet import quiet

OPSET = 17
"""Read by every ONNX Runtime since 1.12 and by OpenVINO and OpenCV."""


def export_onnx(
    student: Any, path: Path | str, *, batch: int | None = None, metadata: dict[str, str] | None = None
) -> None:
    """Writes the student as ONNX, checked by `onnx.checker`, whole or not at all.

    Args:
        student: Functional model, `image` uint8 [batch, H, W, 3] to float32 [batch, D].
        path: where to write.
        batch: a fixed number of images; None leaves the axis open under the name `batch`.
        metadata: texts for the file's metadata_props.
    """
    with quiet():
        import tf2onnx  # slow, and its loggers print

    signature = (tf.TensorSpec((batch, *student.input_shape[1:]), tf.uint8, name="image"),)

    @tf.function(input_signature=signature)
    def embed(image: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"embedding": student(image, training=False)}

    with quiet():
        model, _ = tf2onnx.convert.from_function(embed, input_signature=signature, opset=OPSET)
    for value in (*model.graph.input, *model.graph.output):
        axis = value.type.tensor_type.shape.dim[0]
        if batch is None:
            axis.dim_param = "batch"
        else:
            axis.dim_value = batch
    # Shapes in the middle still carry the converter's own name for the axis.
    del model.graph.value_info[:]
    onnx.helper.set_model_props(model, metadata or {})
    onnx.checker.check_model(model, full_check=True)
    with whole_file(path) as temporary:
        onnx.save(model, str(temporary))
