"""Builds one more subgraph into a TFLite model: constants, operators and copies of other subgraphs.

Weights are shared: a copied subgraph points to the same buffers, so a file with several signatures of one
student holds its weights once.
"""

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from export.formats.flatbuffer import AlignedBuffer, as_text, tensor_map

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


def operator_code(model: Any, number: int, version: int) -> int:
    """Returns the place of an operator of this version among a model's codes; it is added where it is not there."""
    for index, code in enumerate(model.operatorCodes):
        if max(code.builtinCode, code.deprecatedBuiltinCode) == number and code.version == version:
            return index
    # Old readers look at the one-byte field only; numbers above 127 are marked there by 127.
    code = schema.OperatorCodeT(deprecatedBuiltinCode=min(number, 127), builtinCode=number, version=version)
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1


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
        self,
        name: str,
        inputs: Sequence[int],
        outputs: Sequence[int],
        options: str | None = None,
        *,
        version: int = 1,
        **fields: Any,
    ) -> None:
        """Appends an operator, such as `operator("GATHER", [x, rows], [y], "GatherOptions", axis=1)`."""
        operator = schema.OperatorT(
            opcodeIndex=operator_code(self.model, getattr(schema.BuiltinOperator, name), version),
            inputs=list(inputs),
            outputs=list(outputs),
        )
        if options is not None:
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, options)
            operator.builtinOptions = getattr(schema, f"{options}T")(**fields)
        self.graph.operators.append(operator)

    def integers(self, values: int | Sequence[int]) -> int:
        """Adds an int32 constant."""
        return self.constant(np.asarray(values, np.int32), "integers")

    def reshape(self, tensor: int, shape: Sequence[int], *, free: bool = False, quantized: bool = False) -> int:
        """Adds a reshape and returns its result; with `free`, the first axis follows an input that is resized.

        With `quantized` the result keeps the scale of its source.
        """
        source = self.graph.tensors[tensor]
        result = self.tensor(shape, np.float32, f"{as_text(source.name)}_reshaped", type=source.type)
        if quantized:
            self.graph.tensors[result].quantization = source.quantization
        size = [-1, *shape[1:]] if free else list(shape)
        self.operator("RESHAPE", [tensor, self.integers(size)], [result], "ReshapeOptions", newShape=size)
        return result

    def gather(self, table: int, indices: int, shape: Sequence[int], *, axis: int = 0, batch_dims: int = 0) -> int:
        """Adds the gathering of parts of `table` along `axis`; returns its result, of the given shape.

        With `batch_dims` 1, row i of the indices gathers from row i of the table.
        """
        source = self.graph.tensors[table]
        result = self.tensor(
            shape,
            np.float32,
            f"{as_text(source.name)}_gathered",
            type=source.type,
            quantization=source.quantization,
        )
        version = 5 if batch_dims else 2 if source.type == schema.TensorType.INT8 else 1
        fields = {"axis": axis, "batchDims": batch_dims}
        self.operator("GATHER", [table, indices], [result], "GatherOptions", version=version, **fields)
        return result

    def dequantize(self, tensor: int) -> int:
        """Adds the change of float16, or of int8 with a scale, to float32."""
        source = self.graph.tensors[tensor]
        result = self.tensor(source.shape, np.float32, f"{as_text(source.name)}_float32")
        version = 3 if source.type == schema.TensorType.FLOAT16 else 2
        self.operator("DEQUANTIZE", [tensor], [result], "DequantizeOptions", version=version)
        return result

    def quantize(self, tensor: int, scale: float) -> int:
        """Adds the change of float32 to int8 with a scale."""
        quantization = schema.QuantizationParametersT(
            scale=np.array([scale], np.float32), zeroPoint=np.zeros(1, np.int64), quantizedDimension=0
        )
        shape = self.graph.tensors[tensor].shape
        result = self.tensor(shape, np.int8, "quantized", quantization=quantization)
        self.operator("QUANTIZE", [tensor], [result], "QuantizeOptions")
        return result

    def cast(self, tensor: int) -> int:
        """Adds the change of int32 to float32."""
        result = self.tensor(self.graph.tensors[tensor].shape, np.float32, "cast")
        types = {"inDataType": schema.TensorType.INT32, "outDataType": schema.TensorType.FLOAT32}
        self.operator("CAST", [tensor], [result], "CastOptions", **types)
        return result

    def binary(self, name: str, left: int, right: int, options: str) -> int:
        """Adds an operator on two tensors, the second of the same shape or broadcast to it."""
        source = self.graph.tensors[left]
        result = self.tensor(source.shape, np.float32, name.lower(), type=source.type)
        self.operator(name, [left, right], [result], options)
        return result

    def top_k(self, scores: int, k: int) -> tuple[int, int]:
        """Adds the k largest of float32 [1, n], sorted; returns values and places, both [1, k]."""
        values = self.tensor((1, k), np.float32, "top_values")
        places = self.tensor((1, k), np.int32, "top_places")
        self.operator("TOPK_V2", [scores, self.integers(k)], [values, places], "TopKV2Options")
        return values, places

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
