"""The product behind every score: queries times gallery, by onnxruntime's matrix kernel.

It was twice as fast here as TensorFlow's and three times as fast as numpy's on wide, short products, gives the same
bits each time, and several threads may call it at once.
"""

import functools
from typing import Any

import numpy as np
from onnx import TensorProto, ValueInfoProto, helper

from kdistill.runtimes.onnx import open_onnx


def inner_products(queries: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Returns float32 [Q, n], the inner products of float32 [Q, D] and [n, D] (C-contiguous, possibly mapped)."""
    try:
        return _session().run(None, {"queries": queries, "rows": np.ascontiguousarray(rows)})[0]
    # The runtime's exceptions share no base class; the product itself can only fail for want of memory.
    except Exception as error:
        if "alloc" in str(error).lower():
            raise MemoryError(str(error)) from error
        raise


@functools.cache
def _session() -> Any:
    def matrix(name: str, *shape: str) -> ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    graph = helper.make_graph(
        [helper.make_node("Gemm", ["queries", "rows"], ["scores"], transB=1)],
        "inner_products",
        [matrix("queries", "Q", "D"), matrix("rows", "n", "D")],
        [matrix("scores", "Q", "n")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    # Callers work on one block a core, so a call keeps to one thread; the order of additions is then fixed as well.
    return open_onnx(model.SerializeToString(), num_threads=1)
