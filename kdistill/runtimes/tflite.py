"""Opens TFLite files.

An interpreter holds the tensors of its one running call, so threads on one interpreter get each other's answers. Small
files get an interpreter for each call that runs at a time; of a large file (LARGE_FILE_BYTES) there is one, since each
further one repacks the weights in memory, and calls wait for it.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from kdistill.console.quiet import quiet
from kdistill.errors import KdistillError, first_line
from kdistill.files.whole import is_text, read_bounded
from kdistill.runtimes.image_model import (
    LARGE_FILE_BYTES,
    Choice,
    ImageInput,
    ImageModel,
    calls_at_once,
    finished,
)
from kdistill.runtimes.inputs import Tensor, further_inputs, image_tensor, read_image_input, says_all
from kdistill.runtimes.outputs import is_told, pick_output
from kdistill.runtimes.pool import Pool
from kdistill.runtimes.signatures import choose_signature

MAX_FILE_BYTES = 2**31
"""What a flatbuffer can hold."""

PIXELS_KEY = "kdistill_pixels"
"""Metadata of a file whose image takes pixels 0..255 in another type than uint8: that type."""

Call = Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]]
Item = TypeVar("Item")


def open_tflite(path: Path | str, *, num_threads: int = 2, content: bytes | None = None) -> Interpreter:
    """Returns an interpreter, with its tensors allocated, for one thread at a time.

    Args:
        path: the `.tflite` file.
        num_threads: that one call uses.
        content: the file's bytes, where they were read already.

    Raises:
        KdistillError: the file is missing, damaged or needs operators that the runtime lacks.
    """
    if content is None and not is_text(path):
        content = read_bounded(path, MAX_FILE_BYTES)
    source = {"model_path": str(path)} if content is None else {"model_content": content}
    try:
        with quiet():
            interpreter = Interpreter(**source, num_threads=num_threads)
            interpreter.allocate_tensors()  # here, where the delegate's greeting is not seen
            return interpreter
    except (ValueError, RuntimeError) as error:
        raise KdistillError(f"{path} cannot be loaded as TFLite: {first_line(error)}") from error


def tflite_pool(
    path: Path | str, make: Callable[[Interpreter], Item], *, num_threads: int = 2, callers: int | None = None
) -> Pool[Item]:
    """Returns a pool of what `make` builds around an interpreter; the file may be replaced meanwhile.

    Args:
        path: the `.tflite` file.
        make: called once for each interpreter, out of sight of the terminal.
        num_threads: that one call uses.
        callers: calls at a time; None for as many as fill the cores. Large files get one.

    Raises:
        KdistillError: as `open_tflite`.
    """
    most = callers or calls_at_once(num_threads)
    content: bytes | None = None
    try:
        if Path(path).stat().st_size >= LARGE_FILE_BYTES:
            most = 1
        if most > 1:
            content = Path(path).read_bytes()
    except OSError as error:
        raise KdistillError(f"{path} cannot be read: {error.strerror or error}") from error

    def opened() -> Item:
        interpreter = open_tflite(path, num_threads=num_threads, content=content)
        with quiet():
            return make(interpreter)

    return Pool(opened, most)


def open_tflite_model(
    path: Path | str,
    model: str,
    *,
    num_threads: int = 1,
    callers: int | None = None,
    choice: Choice = Choice(),  # noqa: B008 (frozen)
) -> ImageModel:
    """Opens a file with one image input, or the signature `embed` of a retriever.

    Inputs and outputs are known by the names of the signature where the file has one, else by those of the tensors.

    Args:
        path: the `.tflite` file.
        model: its name in errors.
        num_threads, callers: see `tflite_pool`; a large file's one call uses them all together.
        choice: among its outputs (`SIGNATURE:NAME` for those of another signature), and what the file leaves open.

    Raises:
        KdistillError: damaged, or not of this form.
        ArgumentError: a choice that the file does not offer.
    """
    if Path(path).is_file() and Path(path).stat().st_size >= LARGE_FILE_BYTES:
        num_threads, callers = num_threads * (callers or calls_at_once(num_threads)), 1
    pool = tflite_pool(
        path, lambda interpreter: _Callable(interpreter, choice.output), num_threads=num_threads, callers=callers
    )
    with pool.borrow() as first:
        tensors = [_tensor(name, details) for name, details in first.inputs.items()]
        names, signature = list(first.outputs), first.signature
        chosen = pick_output(names, model, first.wanted)
        result = first.outputs[chosen]
    tensor = image_tensor(model, tensors)
    source = read_image_input(
        model, tensor.shape, tensor.dtype, tensor.quantization, name=tensor.name, side=choice.side
    )
    others = [other for other in tensors if other is not tensor]
    further = further_inputs(model, others, source.side)

    def run(images: np.ndarray) -> np.ndarray:
        with pool.borrow() as interpreter:
            try:
                answer = interpreter.call({tensor.name: images, **further(len(images))})[chosen]
            except (ValueError, RuntimeError) as error:
                raise KdistillError(f"{model} cannot be run: {first_line(error)}") from error
        return _dequantised(answer, *result["quantization"])

    return finished(
        run,
        source,
        model,
        choice,
        f"{signature}{chosen}",
        told=is_told(chosen, names, signature),
        rank=len(result["shape"]) or None,
        certain=says_all(tensor) and not others,
        callers=pool.most,
        names=(tensor.name, chosen),
    )


def stated_pixels(path: Path | str) -> str:
    """Returns the type in which a `.tflite` file says that it takes pixels 0..255; "" where it says nothing."""
    model = schema.Model.GetRootAs(read_bounded(path, MAX_FILE_BYTES), 0)
    for entry in (model.Metadata(number) for number in range(model.MetadataLength())):
        if entry.Name() == PIXELS_KEY.encode():
            return bytes(model.Buffers(entry.Buffer()).DataAsNumpy()).decode()
    return ""


def tensor_input(tensor: Mapping[str, Any], model: str) -> ImageInput:
    """Returns the image input that the details of a tensor describe; errors as in `read_image_input`."""
    described = _tensor("", tensor)
    return read_image_input(model, described.shape, described.dtype, described.quantization)


def _tensor(name: str, details: Mapping[str, Any]) -> Tensor:
    # Where an axis is open, `shape` holds a 1 for it; a file without such axes may have no `shape_signature`.
    shape = details["shape_signature"] if len(details["shape_signature"]) else details["shape"]
    return Tensor(name, list(shape), details["dtype"], details["quantization"])


class _Callable:
    """One interpreter as a function of its inputs by name; `inputs` and `outputs` are name -> details of the tensor."""

    def __init__(self, interpreter: Interpreter, output: str | None) -> None:
        """Takes the signature that the name of the wanted output speaks of, else the usual one."""
        signatures = interpreter.get_signature_list()
        # Of several signatures one must be known by its name.
        key, self.wanted, self.signature = choose_signature(
            {name: tuple(one["outputs"]) for name, one in signatures.items()}, output, ("embed", "serving_default")
        )
        if key is not None:
            runner = interpreter.get_signature_runner(key)
            self.inputs, self.outputs = runner.get_input_details(), runner.get_output_details()
            self.call: Call = lambda values: runner(**values)
        else:
            self.inputs = {tensor["name"]: tensor for tensor in interpreter.get_input_details()}
            self.outputs = {tensor["name"]: tensor for tensor in interpreter.get_output_details()}
            self.call = lambda values: _invoke(interpreter, self.inputs, self.outputs, values)


def _invoke(
    interpreter: Interpreter, inputs: dict[str, Any], outputs: dict[str, Any], values: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    shapes = {tensor["name"]: tuple(tensor["shape"]) for tensor in interpreter.get_input_details()}
    changed = [name for name, value in values.items() if shapes[name] != value.shape]
    for name in changed:
        interpreter.resize_tensor_input(inputs[name]["index"], values[name].shape)
    if changed:
        interpreter.allocate_tensors()
    for name, value in values.items():
        interpreter.set_tensor(inputs[name]["index"], value)
    interpreter.invoke()
    return {name: interpreter.get_tensor(tensor["index"]) for name, tensor in outputs.items()}


def _dequantised(values: np.ndarray, scale: float, zero_point: int) -> np.ndarray:
    if values.dtype.kind not in "iu" or scale == 0:
        return values.astype(np.float32)
    return (values.astype(np.float32) - zero_point) * np.float32(scale)
