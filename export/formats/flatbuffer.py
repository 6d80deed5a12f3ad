"""TFLite files as objects: read, check, rename and write, without a converter.

The object classes are the ones that ship with ai-edge-litert, generated from the public schema
(tensorflow/compiler/mlir/lite/schema/schema.fbs).
"""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from kdistill.errors import KdistillError
from kdistill.files.whole import whole_file

FILE_IDENTIFIER = b"TFL3"
MAX_BYTES = 2**31 - 2**20
"""A flatbuffer's offsets have 32 bits with a sign; a little room is left for the tables."""

_NAMES = {
    value: name for name, value in vars(schema.BuiltinOperator).items() if not name.startswith("_")
}  # number -> operator name
_VARIABLE_OPERATORS = {"VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE", "CALL_ONCE"}


class AlignedBuffer(schema.BufferT):
    """A buffer whose data starts at a multiple of 16 bytes, as the schema's `force_align` asks.

    The generated Python class packs bytes without alignment, and kernels on some processors then read slowly or fault.
    """

    def Pack(self, builder: flatbuffers.Builder) -> int:
        """Writes the buffer and returns its offset."""
        data = None
        if self.data is not None and np.size(self.data):
            octets = np.ascontiguousarray(self.data).reshape(-1).view(np.uint8)
            builder.StartVector(1, octets.size, 16)
            builder.head -= octets.size
            np.frombuffer(builder.Bytes, np.uint8)[builder.head : builder.head + octets.size] = octets
            data = builder.EndVector()
        schema.BufferStart(builder)
        if data is not None:
            schema.BufferAddData(builder, data)
        return schema.BufferEnd(builder)


class SharingBuilder(flatbuffers.Builder):
    """A builder that remembers the vectors of quantisation parameters that it has written."""

    def __init__(self, initial_size: int) -> None:
        """Starts with room for that many bytes."""
        super().__init__(initial_size)
        self.vectors: dict[tuple[type, bytes], int] = {}

    def vector(self, values: Any, dtype: type) -> int | None:
        """Returns the offset of a vector with these values, None for None."""
        if values is None:
            return None
        content: np.ndarray = np.asarray(values, dtype)
        key = (dtype, content.tobytes())
        if key not in self.vectors:
            self.vectors[key] = self.CreateNumpyVector(content)
        return self.vectors[key]


class SharedQuantization(schema.QuantizationParametersT):
    """Quantisation whose vectors are written once when they are equal: most are zero points, eight bytes a channel."""

    def Pack(self, builder: SharingBuilder) -> int:
        """Writes the parameters and returns their offset."""
        vectors = {
            schema.QuantizationParametersAddMin: builder.vector(self.min, np.float32),
            schema.QuantizationParametersAddMax: builder.vector(self.max, np.float32),
            schema.QuantizationParametersAddScale: builder.vector(self.scale, np.float32),
            schema.QuantizationParametersAddZeroPoint: builder.vector(self.zeroPoint, np.int64),
        }
        schema.QuantizationParametersStart(builder)
        for add, offset in vectors.items():
            if offset is not None:
                add(builder, offset)
        schema.QuantizationParametersAddQuantizedDimension(builder, self.quantizedDimension)
        return schema.QuantizationParametersEnd(builder)


def read_model(source: Path | str | bytes) -> Any:
    """Returns the file as a `ModelT`; arrays point into the bytes read.

    Raises:
        KdistillError: missing, truncated, or not a TFLite file.
    """
    name = "the bytes given" if isinstance(source, bytes) else str(source)
    try:
        content = source if isinstance(source, bytes) else Path(source).read_bytes()
    except OSError as error:
        raise KdistillError(f"{name} cannot be read: {error.strerror or error}") from error
    if content[4:8] != FILE_IDENTIFIER:
        raise KdistillError(f"{name} is not a TFLite file (its first bytes do not say so)")
    try:
        model = schema.ModelT.InitFromPackedBuf(content, 0)
        _check(model)
    # A damaged flatbuffer fails in many ways inside the generated code.
    except Exception as error:
        raise KdistillError(f"{name} is damaged or truncated: {error or type(error).__name__}") from error
    model.buffers = [AlignedBuffer(data=_data_of(buffer, content)) for buffer in model.buffers]
    return model


def write_model(model: Any, path: Path | str, *, check: Callable[[Path], None] | None = None) -> None:
    """Writes a `ModelT` under `path`, whole or not at all.

    Args:
        model: the content.
        path: where to write.
        check: is given the written file before it gets its name; what it raises leaves no file.

    Raises:
        KdistillError: the model does not fit into one flatbuffer (2 GiB), or the disk is full.
    """
    for tensor in (tensor for graph in model.subgraphs for tensor in graph.tensors):
        if tensor.quantization is not None and tensor.quantization.details is None:
            fields = vars(tensor.quantization)
            tensor.quantization = SharedQuantization()
            vars(tensor.quantization).update(fields)
    size = sum(0 if buffer.data is None else np.asarray(buffer.data).nbytes for buffer in model.buffers)
    if size > MAX_BYTES:
        raise KdistillError(
            f"{path} would hold {size / 2**30:.2f} GiB, more than the 2 GiB of one TFLite file: use shards or int8"
        )
    builder = SharingBuilder(size + size // 8 + 2**16)
    builder.Finish(model.Pack(builder), file_identifier=FILE_IDENTIFIER)
    with whole_file(path) as temporary:
        temporary.write_bytes(memoryview(builder.Bytes)[builder.head :])
        if check is not None:
            check(temporary)


def operator_names(model: Any) -> set[str]:
    """Returns the names of all operators in the file, custom ones by their own name."""
    names = set()
    for code in model.operatorCodes:
        number = max(code.builtinCode, code.deprecatedBuiltinCode)
        custom = number == schema.BuiltinOperator.CUSTOM
        names.add(as_text(code.customCode) if custom else _NAMES.get(number, f"operator {number}"))
    return names


def refuse_unportable(model: Any, name: str) -> None:
    """Refuses what only some runtimes can load.

    Raises:
        KdistillError: Flex, other custom or variable operators are in the file; they are named.
    """
    builtin = set(_NAMES.values())
    bad = sorted(op for op in operator_names(model) if op not in builtin or op in _VARIABLE_OPERATORS)
    if bad:
        raise KdistillError(
            f"{name} needs operators that plain TFLite runtimes lack ({', '.join(bad)}); "
            "use layers whose operations are TFLite built-ins"
        )


def name_signature(model: Any, *, inputs: list[str], outputs: list[str], key: str = "serving_default") -> None:
    """Gives subgraph 0 one signature with these names, and its tensors the same names."""
    graph = model.subgraphs[0]
    signature = schema.SignatureDefT(signatureKey=key, subgraphIndex=0)
    signature.inputs = tensor_map(graph, inputs, graph.inputs)
    signature.outputs = tensor_map(graph, outputs, graph.outputs)
    model.signatureDefs = [signature]


def tensor_map(graph: Any, names: list[str], indices: list[int]) -> list[Any]:
    """Names tensors of a subgraph and returns the signature entries that point to them."""
    for name, index in zip(names, indices, strict=True):
        graph.tensors[index].name = name
    return [schema.TensorMapT(name=name, tensorIndex=int(index)) for name, index in zip(names, indices, strict=True)]


def add_metadata(model: Any, entries: dict[str, str]) -> None:
    """Stores texts in the file's metadata table, which runtimes ignore and tools can read."""
    for name, text in entries.items():
        model.buffers.append(AlignedBuffer(data=np.frombuffer(text.encode(), np.uint8)))
        model.metadata = [
            *(model.metadata or []),
            schema.MetadataT(name=name, buffer=len(model.buffers) - 1),
        ]


def read_metadata(model: Any, name: str) -> str | None:
    """Returns one text stored by `add_metadata`, or None."""
    for entry in model.metadata or []:
        if as_text(entry.name) == name:
            return bytes(np.asarray(model.buffers[entry.buffer].data, np.uint8)).decode()
    return None


def drop_unused_buffers(model: Any) -> None:
    """Removes buffers that no tensor and no metadata entry points to, and renumbers the others."""
    holders = [tensor for graph in model.subgraphs for tensor in graph.tensors] + list(model.metadata or [])
    kept = sorted({0} | {holder.buffer for holder in holders})  # buffer 0 is empty by convention
    place = {old: new for new, old in enumerate(kept)}
    for holder in holders:
        holder.buffer = place[holder.buffer]
    model.buffers = [model.buffers[old] for old in kept]


def shorten_names(model: Any) -> None:
    """Numbers the tensors: the converter names each after all layers that went into it."""
    for graph in model.subgraphs:
        for number, tensor in enumerate(graph.tensors):
            tensor.name = f"t{number}"


def append_model(model: Any, other: Any) -> None:
    """Moves the subgraphs of `other` behind those of `model`, with their operators and buffers; signatures are lost."""
    operators, buffers = len(model.operatorCodes), len(model.buffers)
    for graph in other.subgraphs:
        for operator in graph.operators:
            operator.opcodeIndex += operators
        for tensor in graph.tensors:
            tensor.buffer += buffers
    model.operatorCodes += other.operatorCodes
    model.buffers += other.buffers
    model.subgraphs += other.subgraphs


def signatures(model: Any) -> dict[str, Any]:
    """Returns the signatures by their key."""
    return {as_text(signature.signatureKey): signature for signature in model.signatureDefs or []}


def _data_of(buffer: Any, content: bytes) -> Any:
    """Returns a buffer's data, which may stand behind the flatbuffer in the file: then `offset` is above 1."""
    if not buffer.offset or buffer.offset <= 1:
        return buffer.data
    return np.frombuffer(content, np.uint8, buffer.size, buffer.offset)


def _check(model: Any) -> None:
    if not model.subgraphs or not model.operatorCodes or model.buffers is None:
        raise ValueError("it holds no graph")
    for graph in model.subgraphs:
        used = itertools.chain(graph.inputs, graph.outputs)
        if not all(0 <= index < len(graph.tensors) for index in used):
            raise ValueError("its graph points outside its tensors")
        if not all(tensor.buffer < len(model.buffers) for tensor in graph.tensors):
            raise ValueError("its tensors point outside its buffers")


def as_text(value: bytes | str) -> str:
    """Returns a name as text: names read from a file are bytes, names set by us are not."""
    return value.decode() if isinstance(value, bytes) else value
