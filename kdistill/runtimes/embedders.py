"""Opens a student's file, in any of the formats it is shipped in, as a function from pixels to embeddings."""

import dataclasses
import os
import threading
from pathlib import Path

import numpy as np

from kdistill.errors import ArgumentError, KdistillError
from kdistill.evaluation.embedding import Embed, as_function
from kdistill.runtimes.keras_files import load_keras_file

SUFFIXES = (".keras", ".onnx", ".tflite")
LARGE_FILE_BYTES = 32 * 2**20
"""From this size on a network's weights outgrow a core's cache, and all cores do better on one batch together."""


@dataclasses.dataclass(frozen=True)
class Embedder:
    """A model that is ready to run.

    Attributes:
        embed: from uint8 [B, S, S, 3] to float32 [B, D], for any B; may be called from several threads.
        image_size: S.
        callers: how many threads should call it at a time to keep all cores busy.
    """

    embed: Embed
    image_size: int
    callers: int


def open_embedder(path: str | Path, *, threads: int | None = None) -> Embedder:
    """Opens a file that this library wrote: input `image` uint8 [batch, S, S, 3], output `embedding` [batch, D].

    ONNX and TFLite run one thread a call and many calls at a time: threads then never wait for each other within a
    batch, which matters when other cores are decoding. Large ONNX files (LARGE_FILE_BYTES) run on all cores instead.

    Args:
        path: a `.keras`, `.onnx` or `.tflite` file.
        threads: calls at a time; None for one a core.

    Raises:
        ArgumentError: another kind of file.
        KdistillError: the file is missing, damaged, or has another input.
    """
    file = Path(path)
    threads = threads or os.cpu_count() or 1
    openers = {".keras": _open_keras, ".onnx": _open_onnx, ".tflite": _open_tflite}
    if file.suffix not in openers:
        raise ArgumentError(f"the model {str(path)!r} is none of {', '.join(SUFFIXES)}")
    if not file.is_file():
        raise KdistillError(f"the model {str(path)!r} does not exist")
    try:
        embedder = openers[file.suffix](file, threads)
    # The three runtimes raise classes of their own on a damaged file.
    except Exception as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise KdistillError(f"the model {str(path)!r} cannot be loaded: {reason[0]}") from error
    return embedder


def _open_keras(path: Path, threads: int) -> Embedder:
    model = load_keras_file(path)
    return Embedder(as_function(model), _side(path, model.input_shape, model.inputs[0].dtype), 1)


def _open_onnx(path: Path, threads: int) -> Embedder:
    import onnxruntime

    shared = path.stat().st_size >= LARGE_FILE_BYTES
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads if shared else 1
    options.log_severity_level = 3  # errors only
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    tensor = session.get_inputs()[0]
    fixed = tensor.shape[0] if isinstance(tensor.shape[0], int) else None

    def run(pixels: np.ndarray) -> np.ndarray:
        return session.run(["embedding"], {tensor.name: pixels})[0]

    return Embedder(_in_batches(run, fixed), _side(path, tensor.shape, tensor.type), 1 if shared else threads)


def _open_tflite(path: Path, threads: int) -> Embedder:
    from ai_edge_litert.interpreter import Interpreter

    local = threading.local()

    def interpreter() -> Interpreter:
        # One for each calling thread: an interpreter holds the tensors of its one running call.
        if not hasattr(local, "interpreter"):
            local.interpreter = Interpreter(str(path), num_threads=1)
            local.interpreter.allocate_tensors()
        return local.interpreter

    def run(pixels: np.ndarray) -> np.ndarray:
        model = interpreter()
        details = model.get_input_details()[0]
        if tuple(details["shape"]) != pixels.shape:
            model.resize_tensor_input(details["index"], pixels.shape)
            model.allocate_tensors()
        model.set_tensor(details["index"], pixels)
        model.invoke()
        return model.get_tensor(model.get_output_details()[0]["index"])

    tensor = interpreter().get_input_details()[0]
    fixed = None if tensor["shape_signature"][0] == -1 else int(tensor["shape"][0])
    side = _side(path, tuple(int(length) for length in tensor["shape"]), np.dtype(tensor["dtype"]).name)
    return Embedder(_in_batches(run, fixed), side, threads)


def _in_batches(run: Embed, fixed: int | None) -> Embed:
    """Returns `run` for any number of images, when the file's batch is fixed."""
    if fixed is None:
        return run

    def embed(pixels: np.ndarray) -> np.ndarray:
        parts = []
        for first in range(0, len(pixels), fixed):
            part = pixels[first : first + fixed]
            padded = np.pad(part, [(0, fixed - len(part)), (0, 0), (0, 0), (0, 0)])
            parts.append(run(padded)[: len(part)])
        return np.concatenate(parts)

    return embed


def _side(path: Path, shape: tuple[object, ...] | list[object], dtype: object) -> int:
    if len(shape) != 4 or shape[3] != 3 or shape[1] != shape[2] or "uint8" not in str(dtype):
        raise KdistillError(
            f"the model {str(path)!r} takes {dtype} {list(shape)}, expected pixels uint8 [batch, S, S, 3]"
        )
    if not isinstance(shape[1], int):
        raise KdistillError(f"the model {str(path)!r} leaves the size of its input open")
    return shape[1]
