"""Graphs in the words of an older opset: same values in ONNX Runtime, and no silent guess."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from export.formats.onnx_opset import lower_opset
from kdistill.errors import KdistillError

REDUCTIONS = [
    *("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax"),
    *("ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare"),
]


def graph_of(nodes, constants=(), rank=3):
    """Returns `given` [2, 3, 4] -> `found`, of that many axes, in opset 18."""
    given = helper.make_tensor_value_info("given", TensorProto.FLOAT, [2, 3, 4])
    found = helper.make_tensor_value_info("found", TensorProto.FLOAT, [None] * rank)
    initializers = [numpy_helper.from_array(np.asarray(value), name) for name, value in dict(constants).items()]
    graph = helper.make_graph(nodes, "g", [given], [found], initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def run(model, given):
    onnx.checker.check_model(model, full_check=True)
    return onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"given": given})[0]


@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_reductions_keep_their_values(reduction, keepdims):
    node = helper.make_node(reduction, ["given", "axes"], ["found"], keepdims=keepdims)
    model = graph_of([node], {"axes": np.int64([0, -1])}, rank=3 if keepdims else 1)
    given = np.random.default_rng(0).uniform(0.1, 1, (2, 3, 4)).astype(np.float32)
    expected = run(model, given)
    lower_opset(model, 17)
    assert [entry.version for entry in model.opset_import] == [17]
    assert model.ir_version == 8
    assert [value.name for value in model.graph.initializer] == (["axes"] if reduction == "ReduceSum" else [])
    np.testing.assert_allclose(run(model, given), expected, rtol=1e-6)


def test_what_did_not_change_stays():
    pads = {"pads": np.int64([0, 0, 1, 0, 0, 1]), "zero": np.float32(0)}
    model = graph_of([helper.make_node("Pad", ["given", "pads", "zero"], ["found"])], pads)
    given = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    lower_opset(model, 17)
    np.testing.assert_array_equal(run(model, given), np.pad(given, ((0, 0), (0, 0), (1, 1))))


@pytest.mark.parametrize(
    ("nodes", "constants", "sentence"),
    [
        ([helper.make_node("Mish", ["given"], ["found"])], {}, "ONNX has no operator Mish in opset 17"),
        (
            [helper.make_node("Pad", ["given", "pads", "zero", "axes"], ["found"])],
            {"pads": np.int64([1, 1]), "zero": np.float32(0), "axes": np.int64([2])},
            "ONNX knows 4 inputs of the operator Pad only after opset 17",
        ),
        (
            [helper.make_node("Split", ["given"], ["found", "rest"], axis=2, num_outputs=2)],
            {},
            "ONNX knows the attribute num_outputs of the operator Split only after opset 17",
        ),
        (
            [
                helper.make_node("Cast", ["given"], ["axes"], to=TensorProto.INT64),
                helper.make_node("ReduceMean", ["given", "axes"], ["found"]),
            ],
            {},
            "ONNX knows 2 inputs of the operator ReduceMean only after opset 17",
        ),
    ],
    ids=["operator", "input", "attribute", "computed axes"],
)
def test_what_the_older_opset_lacks_is_named(nodes, constants, sentence):
    with pytest.raises(KdistillError, match=f"^{sentence}$"):
        lower_opset(graph_of(nodes, constants), 17)
