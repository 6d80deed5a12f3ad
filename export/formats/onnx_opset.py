"""ONNX files for runtimes of yesterday: what a newer converter writes, in the words of an older opset."""

import onnx
from onnx import helper, numpy_helper

from kdistill.errors import KdistillError


def lower_opset(model: onnx.ModelProto, opset: int) -> None:
    """Makes a graph of opset 18 one of an older opset, in place, with the oldest IR version that allows.

    onnx's own converter has no way down from 18 for padding and most reductions. What changed there: reductions take
    their axes as an input, no longer as an attribute (https://onnx.ai/onnx/operators/).

    Raises:
        KdistillError: an operator, attribute or input that the older opset lacks.
    """
    constants, moved = {value.name: value for value in model.graph.initializer}, set()
    for node in model.graph.node:
        kind = node.op_type
        if not onnx.defs.has(kind, max_inclusive_version=opset):
            raise KdistillError(f"ONNX has no operator {kind} in opset {opset}")
        known = onnx.defs.get_schema(kind, max_inclusive_version=opset)
        if len(node.input) > known.max_input and "axes" in known.attributes and node.input[1] in constants:
            name = node.input.pop()
            axes = numpy_helper.to_array(constants[name])
            moved.add(name)
            node.attribute.append(helper.make_attribute("axes", axes.tolist()))
        new = sorted({given.name for given in node.attribute} - set(known.attributes))
        if new or len(node.input) > known.max_input:
            what = f"the attribute {new[0]}" if new else f"{len(node.input)} inputs"
            raise KdistillError(f"ONNX knows {what} of the operator {kind} only after opset {opset}")
    # ONNX Runtime warns of constants that nothing takes.
    for name in moved.difference(*(node.input for node in model.graph.node)):
        model.graph.initializer.remove(constants[name])
    del model.opset_import[:]
    model.opset_import.append(helper.make_opsetid("", opset))
    model.ir_version = helper.find_min_ir_version_for(model.opset_import)
