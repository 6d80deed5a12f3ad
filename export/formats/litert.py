"""Another way from Keras to TFLite, without `tf.lite`: StableHLO, the LiteRT converter, the AI Edge quantizer.

TensorFlow says that its own converter moves out. This one takes what XLA is given, so it needs nothing of TensorFlow's
graphs, and names of layers do not matter. Quantisation happens afterwards, in the file.
"""

from typing import Any

import numpy as np
import tensorflow as tf

from export.formats.flatbuffer import read_model
from export.formats.graph import GraphBuilder
from kdistill.console.quiet import quiet
from kdistill.errors import KdistillError, first_line
from kdistill.facts.extras import CONVERTER_PACKAGES, missing_of

_SIGNATURE = "serving_default"


def converted(fixed: Any, precision: str, calibration: np.ndarray | None) -> Any:
    """Returns a Keras model with a fixed batch as a `ModelT` that gives float32.

    Args:
        fixed: a Functional model of one input and one output.
        precision: "float32", "float16", "dynamic_int8", or with calibration images "int8".
        calibration: uint8 [n, H, W, 3], for the ranges of activations.

    Raises:
        KdistillError: the extra `litert` is not installed, Keras is older than 3, or the converter takes no such model.
    """
    if missing := missing_of("litert", CONVERTER_PACKAGES):
        raise KdistillError(f"the converter litert needs {missing}")
    if not hasattr(fixed, "stateless_call"):
        raise KdistillError("the converter litert needs Keras 3; the converter tf takes this model")
    try:
        with quiet():
            content = _flatbuffer(_stablehlo(fixed))
            if precision != "float32":
                content = _quantised(content, precision, calibration)
    # Both packages raise classes of their own, with pages of MLIR as their text.
    except Exception as error:
        raise KdistillError(f"the model {fixed.name!r} cannot become TFLite: {first_line(error)}") from error
    model = read_model(content)
    _give_float32(model)
    return model


def _stablehlo(fixed: Any) -> str:
    """Returns the model as text of StableHLO, its weights as constants."""
    spec = tf.TensorSpec(fixed.input_shape, fixed.inputs[0].dtype, name="image")
    trained = [np.asarray(value) for value in fixed.trainable_variables]
    other = [np.asarray(value) for value in fixed.non_trainable_variables]

    @tf.function(jit_compile=True, input_signature=[spec])
    def called(image: tf.Tensor) -> tf.Tensor:
        # Made inside, they are constants of the graph; from outside they would be inputs of it.
        constants = [tf.constant(value) for value in trained], [tf.constant(value) for value in other]
        return fixed.stateless_call(*constants, image, training=False)[0]

    return str(called.experimental_get_compiler_ir(tf.zeros(spec.shape, spec.dtype))(stage="stablehlo"))


def _flatbuffer(text: str) -> bytes:
    from litert_converter import converter_api_ext
    from litert_converter.mlir import ir, passmanager

    context = ir.Context()
    converter_api_ext.prepare_mlir_context(context)
    with context:
        module = ir.Module.parse(text)
        converter_api_ext.set_signature(module.operation, _SIGNATURE, ["image"], ["embedding"])
        config = converter_api_ext.ConvertToTFLConfig()
        converter_api_ext.run_convert_to_tfl_passes(module, passmanager.PassManager(), config)
        return bytes(converter_api_ext.export_flatbuffer_to_bytes(module.operation))


def _quantised(content: bytes, precision: str, calibration: np.ndarray | None) -> bytes:
    from ai_edge_quantizer import qtyping, quantizer, recipe

    job = quantizer.Quantizer(content)
    if precision == "float16":
        weights = qtyping.TensorQuantizationConfig(num_bits=16, dtype=qtyping.TensorDataType.FLOAT)
        job.update_quantization_recipe(
            regex=".*",
            operation_name=qtyping.TFLOperationName.ALL_SUPPORTED,
            op_config=qtyping.OpQuantizationConfig(
                weight_tensor_config=weights,
                compute_precision=qtyping.ComputePrecision.FLOAT,
                explicit_dequantize=True,
            ),
            algorithm_key=recipe.AlgorithmName.FLOAT_CASTING,
        )
    else:
        static = calibration is not None
        job.load_quantization_recipe(recipe.static_wi8_ai8() if static else recipe.dynamic_wi8_afp32())
    ranges = None
    if calibration is not None:
        ranges = job.calibrate({_SIGNATURE: [{"image": image[None]} for image in calibration]}, num_threads=2)
    result = job.quantize(ranges, enable_progress_bar=False, enable_progress_report=False)
    return bytes(result.quantized_model)


def _give_float32(model: Any) -> None:
    """Appends DEQUANTIZE where the quantizer left the output in int8."""
    (source,) = model.subgraphs
    (output,) = (source.tensors[int(index)] for index in source.outputs)
    if output.quantization is None or output.quantization.scale is None:
        return
    model.subgraphs = []
    builder = GraphBuilder(model, "main")
    (raw,) = builder.inline(source)
    builder.graph.outputs = [builder.dequantize(raw)]
