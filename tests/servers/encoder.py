"""A small image encoder with random weights as an `.onnx` file, which all servers serve."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIDE, DIMENSION = 32, 16


def write_encoder(path: Path) -> Path:
    """Writes a convolution, a kink and a projection: float32 `pixel_values` [batch, 3, S, S] in, `embedding` out."""
    random = np.random.default_rng(7)
    weights = {
        "filters": random.normal(size=(8, 3, 8, 8)).astype(np.float32) / 8,
        "projection": random.normal(size=(8 * (SIDE // 8) ** 2, DIMENSION)).astype(np.float32) / 8,
    }
    nodes = [
        helper.make_node("Conv", ["pixel_values", "filters"], ["map"], strides=[8, 8]),
        helper.make_node("Relu", ["map"], ["bent"]),
        helper.make_node("Flatten", ["bent"], ["flat"]),
        helper.make_node("MatMul", ["flat", "projection"], ["embedding"]),
    ]
    graph = helper.make_graph(
        nodes,
        "encoder",
        [helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, ["batch", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", DIMENSION])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path
