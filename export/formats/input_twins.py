"""Twins of a `.tflite` file of ours that take pixels as float32 or int8 instead of uint8, and answer the same.

Some runtimes offer no uint8 tensors (the Kotlin API of LiteRT's CompiledModel has none, google-ai-edge/LiteRT#1241),
and accelerators run no CAST from them. A twin has the file's graph without that CAST: pixels 0..255 go in as float32,
or as int8 by the scale and zero point that the input states (of 1 and -128, a pixel p is p - 128).
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from export.formats.checks import probe_images
from export.formats.flatbuffer import add_metadata, as_text, read_metadata, read_model, signatures, write_model
from export.formats.graph import operator_code
from export.formats.metadata import METADATA_KEY
from export.retriever.sidecar import RETRIEVER_KEY, read_sidecar
from kdistill.errors import ArgumentError, KdistillError
from kdistill.files.whole import sha256_of
from kdistill.runtimes.inputs import quantised
from kdistill.runtimes.tflite import PIXELS_KEY, open_tflite, tensor_input

INPUTS = ("uint8", "float32", "int8")
_TYPES = {"uint8": schema.TensorType.UINT8, "float32": schema.TensorType.FLOAT32, "int8": schema.TensorType.INT8}
_TOLERANCE = 1e-5


def write_twin(source: Path | str, target: Path | str, kind: str) -> None:
    """Writes a file with another input than `source`, a student or a retriever (with its sidecar).

    Args:
        source: a `.tflite` file that this program exported, of uint8 input.
        target: where to write; another file.
        kind: "float32" or "int8".

    Raises:
        ArgumentError: another kind, or a target that is the source or no `.tflite` file.
        KdistillError: no file of ours, one whose input is no uint8 any more, or a twin that answers otherwise.
    """
    source, target = Path(source), Path(target)
    if kind not in INPUTS[1:]:
        raise ArgumentError(f"the input of a twin is float32 or int8, not {kind!r}")
    if target.suffix != ".tflite" or target.resolve() == source.resolve():
        raise ArgumentError(f"the twin of {source} is another .tflite file; {target} is none")
    model = read_model(source)
    sidecar = None
    if read_metadata(model, RETRIEVER_KEY) is not None:
        sidecar = read_sidecar(source)
        sidecar.check_file(source)
    _change_inputs(model, kind, source)
    add_metadata(model, {PIXELS_KEY: kind})
    write_model(model, target, check=lambda file: _check_same(source, file, target))
    if sidecar is not None:
        dataclasses.replace(sidecar, sha256=sha256_of(target)).write(target)


def _change_inputs(model: Any, kind: str, source: Path) -> None:
    """Changes the image of each signature, and what the file says of it."""
    taken = [
        (signature, entry)
        for signature in signatures(model).values()
        for entry in signature.inputs
        if as_text(entry.name) == "image"
    ]
    if not taken:
        raise KdistillError(f"{source} takes no image: no signature of it has an input of that name")
    for signature, entry in taken:
        _change_input(model, model.subgraphs[signature.subgraphIndex], entry, kind, source)
    for stored in model.metadata or []:
        if as_text(stored.name) == METADATA_KEY:
            facts = json.loads(read_metadata(model, METADATA_KEY) or "{}")
            facts["input"] = str(facts.get("input", "")).replace("uint8", f"{kind} of 0..255,", 1)
            model.buffers[stored.buffer].data = np.frombuffer(json.dumps(facts).encode(), np.uint8)


def _change_input(model: Any, graph: Any, entry: Any, kind: str, source: Path) -> None:
    """Lets the CAST of an image go, and the image take the place of its result."""
    place = int(entry.tensorIndex)
    image = graph.tensors[place]
    readers = _readers(graph, place)
    if image.type != _TYPES["uint8"] or [_name(model, reader) for reader in readers] != ["CAST"]:
        raise KdistillError(f"the image of {source} is not the uint8 of a file that this program exports")
    (cast,) = readers
    pixels = int(cast.outputs[0])
    graph.operators.remove(cast)
    if kind == "int8":
        following = _readers(graph, pixels)
        if [_name(model, reader) for reader in following] == ["QUANTIZE"]:
            # The file's own first step: int8 by the scale of its calibration.
            graph.operators.remove(following[0])
            pixels = int(following[0].outputs[0])
        else:
            quantization = schema.QuantizationParametersT(
                scale=np.ones(1, np.float32), zeroPoint=np.array([-128], np.int64), quantizedDimension=0
            )
            image.type, image.quantization = _TYPES["int8"], quantization
            graph.operators.insert(0, _dequantize(model, place, pixels))
            return
    result = graph.tensors[pixels]
    image.type, image.quantization = result.type, result.quantization
    for reader in _readers(graph, pixels):
        reader.inputs = [place if int(index) == pixels else int(index) for index in reader.inputs]


def _readers(graph: Any, place: int) -> list[Any]:
    return [operator for operator in graph.operators if place in [int(index) for index in operator.inputs]]


def _name(model: Any, operator: Any) -> str:
    code = model.operatorCodes[operator.opcodeIndex]
    number = max(code.builtinCode, code.deprecatedBuiltinCode)
    return next((name for name in ("CAST", "QUANTIZE") if getattr(schema.BuiltinOperator, name) == number), "another")


def _dequantize(model: Any, image: int, pixels: int) -> Any:
    return schema.OperatorT(
        opcodeIndex=operator_code(model, schema.BuiltinOperator.DEQUANTIZE, 2),
        inputs=[image],
        outputs=[pixels],
        builtinOptionsType=schema.BuiltinOptions.DequantizeOptions,
        builtinOptions=schema.DequantizeOptionsT(),
    )


def _check_same(source: Path, file: Path, target: Path) -> None:
    """Runs both on a few images, by every signature that takes one.

    Raises:
        KdistillError: they answer otherwise.
    """
    first, second = open_tflite(source), open_tflite(file)
    for key in first.get_signature_list():
        one, other = first.get_signature_runner(key), second.get_signature_runner(key)
        if "image" not in one.get_input_details():
            continue
        taken = tensor_input(other.get_input_details()["image"], str(target))
        for image in probe_images(taken.side):
            expected = one(image=image[None])
            found = other(image=quantised(image[None], taken))
            for name, values in expected.items():
                if not np.allclose(found[name], values, atol=_TOLERANCE):
                    raise KdistillError(f"{target} came out with other answers than {source}; there is no use for it")
