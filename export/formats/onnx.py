"""A Keras student as an .onnx file, for servers and for everything that reads ONNX."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import tensorflow as tf

from export.formats import checks, onnx_by_jax
from export.formats.onnx_precision import to_float16, to_int8
from export.formats.tflite import MIN_CALIBRATION, check_converter, checked_calibration, checked_student
from export.search.onnx_search import OPSET
from kdistill import students
from kdistill.console.quiet import quiet
from kdistill.errors import ArgumentError, KdistillError, first_line
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
    converter: str = "tf",
) -> None:
    """Writes the student as ONNX, checked by `onnx.checker`, whole or not at all.

    Args:
        student: Functional model, `image` uint8 [batch, H, W, 3] to float32 [batch, D].
        path: where to write.
        batch: a fixed number of images; None leaves the axis open under the name `batch`.
        precision: "float32", "float16" or "int8" (weights and activations, by ONNX Runtime's static quantiser).
        calibration: uint8 [n, H, W, 3], real images whose activations set the ranges of "int8".
        metadata: texts for the file's metadata_props.
        converter: "tf" for tf2onnx, or "litert", which needs neither it nor TensorFlow's graphs, see
            `export.formats.onnx_by_jax`.

    Raises:
        ArgumentError: an unknown precision or converter, or "int8" without calibration images of the right shape.
        KdistillError: no student (see `checked_student`), operators that ONNX lacks, or a file that does not give the
            student's embeddings.
    """
    model = convert_student(student, batch=batch, precision=precision, calibration=calibration, converter=converter)
    onnx.helper.set_model_props(model, metadata or {})
    reference = checks.reference_of(student, None if calibration is None else calibration[:MIN_CALIBRATION])
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise KdistillError(f"the model {student.name!r} cannot become ONNX: {first_line(error)}") from error
    with whole_file(path) as temporary:
        onnx.save(model, str(temporary))
        checks.check_onnx_student(temporary, str(path), reference, precision, batch)


def convert_student(
    student: Any,
    *,
    batch: int | None = None,
    precision: str = "float32",
    calibration: np.ndarray | None = None,
    converter: str = "tf",
) -> onnx.ModelProto:
    """Returns the student as a graph; arguments as in `export_onnx`."""
    if precision not in PRECISIONS:
        raise ArgumentError(f"ONNX precision {precision!r} is not known; choose one of {', '.join(PRECISIONS)}")
    check_converter(converter)
    student = students.in_float32(checked_student(student))
    images = checked_calibration(calibration, student.input_shape) if precision == "int8" else None
    model = _converted(student, batch) if converter == "tf" else onnx_by_jax.converted(student, batch)
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


def _converted(student: Any, batch: int | None) -> onnx.ModelProto:
    """Returns a float32 student as a graph from `image` to `embedding`."""
    with quiet():
        import tf2onnx  # slow, and its loggers print

    signature = (tf.TensorSpec((batch, *student.input_shape[1:]), tf.uint8, name="image"),)

    @tf.function(input_signature=signature)
    def embed(image: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"embedding": student(image, training=False)}

    try:
        with quiet():
            traced = _traced(embed)
            model, _ = tf2onnx.convert.from_function(embed, input_signature=signature, opset=OPSET)
    # The converter raises classes of its own.
    except Exception as error:
        raise KdistillError(f"the model {student.name!r} cannot become ONNX: {first_line(error)}") from error
    _store_constants(model.graph, traced)
    _replace_erfc(model.graph)
    return model


def _traced(embed: Any) -> Any:
    """Returns the concrete function, with what Keras compiles by XLA inlined: a converter finds no operator for a call.

    Keras does so for convolutions with many groups, as ConvNeXt has them.
    """
    eagerly = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(True)  # of functions inside; the outer one is traced all the same
    try:
        return embed.get_concrete_function()
    finally:
        tf.config.run_functions_eagerly(eagerly)


def _store_constants(graph: onnx.GraphProto, traced: Any) -> None:
    """Turns inputs that stand for constants of layers (the mean of a Normalization) into initialisers, in place."""
    captured = traced.captured_inputs
    inner = traced.inputs[len(traced.inputs) - len(captured) :]
    values = {symbol.name: value for symbol, value in zip(inner, captured, strict=True) if value.dtype != tf.resource}
    kept = []
    for entry in graph.input:
        if entry.name in values:
            graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(values[entry.name]), entry.name))
        else:
            kept.append(copy.deepcopy(entry))
    del graph.input[:]
    graph.input.extend(kept)


def _replace_erfc(graph: onnx.GraphProto) -> None:
    """Replaces Erfc(x), which ONNX lacks and exact GELUs contain, by 1 - Erf(x), in place."""
    nodes = []
    for node in graph.node:
        if node.op_type != "Erfc":
            nodes.append(copy.deepcopy(node))
            continue
        inner, one = f"{node.output[0]}_erf", f"{node.output[0]}_one"
        graph.initializer.append(onnx.numpy_helper.from_array(np.array(1, np.float32), one))
        nodes.append(onnx.helper.make_node("Erf", list(node.input), [inner], name=inner))
        nodes.append(onnx.helper.make_node("Sub", [one, inner], list(node.output), name=node.name))
    del graph.node[:]
    graph.node.extend(nodes)
