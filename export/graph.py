"""Builds one more subgraph into a TFLite model: constants, operators and copies of other subgraphs.

Weights are shared: a copied subgraph points to the same buffers, so a file with several signatures of one
student holds its weights once.
"""

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from export.flatbuffer import AlignedBuffer, tensor_map

TYPES = {
    np.dtype(np.float32): schema.TensorType.FLOAT32,
    np.dtype(np.float16): schema.TensorType.FLOAT16,
    np.dtype(np.int8): schema.TensorType.INT8,
    np.dtype(np.uint8): schema.TensorType.UINT8,
    np.dtype(np.int32): schema.TensorType.INT32,
}


def store(model: Any, array: np.ndarray) -> int:
    """Appends data to a model's buffers and returns the buffer's number, for `GraphBuilder.constant(buffer=...)`."""
    model.buffers.append(AlignedBuffer(data=array))
    return len(model.buffers) - 1


class GraphBuilder:
    """A subgraph under construction; tensors are spoken of by their index in it."""

    def __init__(self, model: Any, name: str) -> None:
        """Appends an empty subgraph called `name` to `model` (a `ModelT`)."""
        self.model = model
        self.name = name
        self.graph = schema.SubGraphT(tensors=[], inputs=[], outputs=[], operators=[], name=name)
        model.subgraphs.append(self.graph)

    def tensor(self, shape: Sequence[int], dtype: type | np.dtype, name: str, **fields: Any) -> int:
        """Adds a tensor without data and returns its index."""
        fields.setdefault("type", TYPES.get(np.dtype(dtype)))
        self.graph.tensors.append(
            schema.TensorT(shape=[int(size) for size in shape], name=name, hasRank=True, **fields)
        )
        return len(self.graph.tensors) - 1

    def input(self, shape: Sequence[int], dtype: type, name: str) -> int:
        """Adds an input of the subgraph."""
        index = self.tensor(shape, dtype, name)
        self.graph.inputs.append(index)
        return index

    def constant(
        self, array: np.ndarray, name: str, *, scale: np.ndarray | None = None, buffer: int | None = None
    ) -> int:
        """Adds a tensor with data.

        Args:
            array: the values.
            name: the tensor's name.
            scale: float32 [rows] or [1]: symmetric quantisation, for each row or for the whole tensor.
            buffer: a buffer that already holds the same bytes (shared between subgraphs).
        """
        quantization = None
        if scale is not None:
            quantization = schema.QuantizationParametersT(
                scale=np.asarray(scale, np.float32), zeroPoint=np.zeros(len(scale), np.int64), quantizedDimension=0
            )
        return self.tensor(
            array.shape,
            array.dtype,
            name,
            buffer=store(self.model, array) if buffer is None else buffer,
            quantization=quantization,
        )

    def operator(
        self, name: str, inputs: Sequence[int], outputs: Sequence[int], *, version: int = 1, options: Any = None
    ) -> None:
        """Appends an operator, such as `operator("FULLY_CONNECTED", [x, w, -1], [y], options=...)`."""
        fields: dict[str, Any] = {}
        if options is not None:
            kind = type(options).__name__.removesuffix("T")
            fields = {"builtinOptionsType": getattr(schema.BuiltinOptions, kind), "builtinOptions": options}
        self.graph.operators.append(
            schema.OperatorT(
                opcodeIndex=self._code(getattr(schema.BuiltinOperator, name), version),
                inputs=list(inputs),
                outputs=list(outputs),
                **fields,
            )
        )

    def flatten(self, tensor: int) -> int:
        """Adds a reshape to one axis and returns its result."""
        source = self.graph.tensors[tensor]
        size = int(np.prod(source.shape))
        flat = self.tensor((size,), np.float32, f"{source.name}_flat", type=source.type)
        shape = self.constant(np.array([size], np.int32), f"{source.name}_shape")
        self.operator("RESHAPE", [tensor, shape], [flat], options=self.options("ReshapeOptions", newShape=[size]))
        return flat

    @staticmethod
    def options(name: str, **fields: Any) -> Any:
        """Returns an operator's options, such as `options("TopKV2Options")`."""
        return getattr(schema, f"{name}T")(**fields)

    def inline(self, source: Any, inputs: Sequence[int] | None = None) -> list[int]:
        """Copies another subgraph of the same model into this one.

        Args:
            source: a `SubGraphT`.
            inputs: tensors here that take the place of its inputs; None makes its inputs inputs of this subgraph.

        Returns:
            The indices of its outputs here.
        """
        place: dict[int, int] = {-1: -1}
        if inputs is not None:
            place.update(zip((int(index) for index in source.inputs), inputs, strict=True))
        for index, tensor in enumerate(source.tensors):
            if index not in place:
                self.graph.tensors.append(copy.copy(tensor))
                place[index] = len(self.graph.tensors) - 1
        if inputs is None:
            self.graph.inputs.extend(place[int(index)] for index in source.inputs)
        for operator in source.operators:
            duplicate = copy.copy(operator)
            duplicate.inputs = [place[int(index)] for index in operator.inputs]
            duplicate.outputs = [place[int(index)] for index in operator.outputs]
            self.graph.operators.append(duplicate)
        return [place[int(index)] for index in source.outputs]

    def finish(self, outputs: Sequence[int], input_names: list[str], output_names: list[str]) -> None:
        """Sets the outputs and gives the subgraph a signature under its own name."""
        self.graph.outputs = list(outputs)
        signature = schema.SignatureDefT(signatureKey=self.name, subgraphIndex=self.model.subgraphs.index(self.graph))
        signature.inputs = tensor_map(self.graph, input_names, self.graph.inputs)
        signature.outputs = tensor_map(self.graph, output_names, self.graph.outputs)
        self.model.signatureDefs = [*(self.model.signatureDefs or []), signature]

    def _code(self, number: int, version: int) -> int:
        for index, code in enumerate(self.model.operatorCodes):
            if max(code.builtinCode, code.deprecatedBuiltinCode) == number and code.version == version:
                return index
        self.model.operatorCodes.append(
            # Old readers look at the one-byte field only; numbers above 127 are marked there by 127.
            schema.OperatorCodeT(deprecatedBuiltinCode=min(number, 127), builtinCode=number, version=version)
        )
        return len(self.model.operatorCodes) - 1
