"""Opens ONNX files. A session may be called from several threads: each call has tensors of its own."""

from pathlib import Path
from typing import Any

import numpy as np

from kdistill.errors import KdistillError, first_line
from kdistill.files.whole import is_text
from kdistill.runtimes.image_model import (
    LARGE_FILE_BYTES,
    Choice,
    ImageModel,
    calls_at_once,
    finished,
)
from kdistill.runtimes.inputs import Tensor, further_inputs, image_tensor, read_image_input, says_all
from kdistill.runtimes.outputs import is_told, pick_output

_TYPES = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(float16)": "float16",
    "tensor(uint8)": "uint8",
    "tensor(int8)": "int8",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(bool)": "bool",
}


def open_onnx(source: Path | str | bytes, *, num_threads: int = 2) -> Any:
    """Returns an onnxruntime.InferenceSession on the processor, of a file or of a graph in memory.

    One call uses `num_threads`; any number of calls may run at a time.

    Raises:
        KdistillError: the file is missing, damaged or needs operators that the runtime lacks.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads
    options.log_severity_level = 4  # its errors come as exceptions, which are told once
    try:
        model = source if isinstance(source, bytes) else str(source)
        if isinstance(model, str) and not is_text(model):
            model = Path(model).read_bytes()  # the runtime takes names of UTF-8 only
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    # The runtime's exceptions share no base class besides Exception.
    except Exception as error:
        name = "a graph" if isinstance(source, bytes) else source
        raise KdistillError(f"{name} cannot be loaded as ONNX: {first_line(error)}") from error


def open_onnx_model(
    path: Path | str,
    model: str,
    *,
    num_threads: int = 1,
    callers: int | None = None,
    choice: Choice = Choice(),  # noqa: B008 (frozen)
) -> ImageModel:
    """Opens a file with one image input; which axis holds the colours is read from its shape, or from axes' names.

    Args:
        path: the `.onnx` file.
        model: its name in errors.
        num_threads: that one call uses.
        callers: calls at a time; None for as many as fill the cores. Large files run one call on all threads.
        choice: among its outputs, and what the file leaves open.

    Raises:
        KdistillError: damaged, or not of this form.
        ArgumentError: a choice that the file does not offer.
    """
    callers = callers or calls_at_once(num_threads)
    if Path(path).is_file() and _bytes(Path(path)) >= LARGE_FILE_BYTES:
        num_threads, callers = num_threads * callers, 1
    session = open_onnx(path, num_threads=num_threads)
    tensors = [Tensor(value.name, value.shape, _TYPES.get(value.type, value.type)) for value in session.get_inputs()]
    tensor = image_tensor(model, tensors)
    source = read_image_input(
        model, tensor.shape, tensor.dtype, name=tensor.name, side=choice.side, channels_first=True
    )
    others = [other for other in tensors if other is not tensor]
    further = further_inputs(model, others, source.side)
    shapes = {value.name: value.shape for value in session.get_outputs()}
    output = pick_output(list(shapes), model, choice.output)

    def run(images: np.ndarray) -> np.ndarray:
        try:
            return session.run([output], {tensor.name: images, **further(len(images))})[0]
        except Exception as error:
            raise KdistillError(f"{model} cannot be run: {first_line(error)}") from error

    return finished(
        run,
        source,
        model,
        choice,
        output,
        told=is_told(output, list(shapes)),
        rank=len(shapes[output]) or None,
        certain=says_all(tensor) and not others,
        callers=callers,
        names=(tensor.name, output),
    )


def external_files(path: Path | str) -> list[Path]:
    """Returns the files beside an `.onnx` file that hold tensors of it, by name; the tensors are not read.

    Raises:
        KdistillError: no ONNX file, or a file of tensors that is missing or outside the model's folder.
    """
    import onnx

    path = Path(path)
    try:
        content = onnx.load(str(path), load_external_data=False)
    # protobuf's and onnx's errors share no base class besides Exception.
    except Exception as error:
        raise KdistillError(f"{path} cannot be loaded as ONNX: {first_line(error)}") from error
    locations = {
        entry.value
        for tensor in _tensors(content)
        if tensor.data_location == onnx.TensorProto.EXTERNAL
        for entry in tensor.external_data
        if entry.key == "location"
    }
    files = []
    for location in sorted(locations):
        if Path(location).is_absolute() or ".." in Path(location).parts:
            raise KdistillError(f"{path} keeps weights in {location!r}, outside its folder, which is not opened")
        file = path.parent / location
        if not file.is_file():
            raise KdistillError(f"{path} keeps weights in the file {location!r} beside it, which is missing")
        files.append(file)
    return files


def _tensors(message: Any) -> Any:
    """Yields all TensorProto below a message: initialisers, attributes, those of functions and of inner graphs."""
    if message.DESCRIPTOR.name == "TensorProto":
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        for item in [value] if hasattr(value, "DESCRIPTOR") else value:
            yield from _tensors(item)


def _bytes(path: Path) -> int:
    """Returns the size of a model with its external files (their usual name: others do not change the answers)."""
    beside = [path.with_name(f"{path.name}{ending}") for ending in ("_data", ".data")]
    return sum(file.stat().st_size for file in (path, *beside) if file.is_file())
