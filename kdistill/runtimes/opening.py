"""Runs exported files: one function from pixels to embeddings, whatever the format."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from kdistill.console.progress import progress_bar
from kdistill.console.quiet import quiet
from kdistill.errors import ArgumentError, KdistillError

Embedder = Callable[[np.ndarray], np.ndarray]


def open_tflite(path: Path | str, *, num_threads: int = 2) -> Interpreter:
    """Returns an interpreter for a .tflite file.

    Raises:
        KdistillError: the file is missing, damaged or not TFLite.
    """
    try:
        with quiet():
            interpreter = Interpreter(str(path), num_threads=num_threads)
            interpreter.allocate_tensors()  # here, where the delegate's greeting is not seen
            return interpreter
    except (ValueError, RuntimeError) as error:
        raise KdistillError(f"{path} cannot be loaded as TFLite: {str(error).splitlines()[0]}") from error


def open_onnx(path: Path | str, *, num_threads: int = 2) -> Any:
    """Returns an onnxruntime.InferenceSession for an .onnx file, on the processor.

    Raises:
        KdistillError: the file is missing, damaged or not ONNX.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    # onnxruntime raises classes of its own that share no base but Exception.
    except Exception as error:
        raise KdistillError(f"{path} cannot be loaded as ONNX: {str(error).splitlines()[0]}") from error


def open_embedder(path: Path | str, *, num_threads: int = 2) -> Embedder:
    """Returns a function from uint8 [1, H, W, 3] to float32 [1, D] that runs a .tflite or .onnx file.

    A .tflite retriever is run through its signature `embed`.

    Raises:
        ArgumentError: another kind of file.
        KdistillError: the file is missing, damaged, or has no input `image` and output `embedding`.
    """
    suffix = Path(path).suffix
    if suffix == ".tflite":
        return _tflite_embedder(path, num_threads)
    if suffix == ".onnx":
        return _onnx_embedder(path, num_threads)
    raise ArgumentError(f"{path} is neither .tflite nor .onnx")


def embed_pixels(path: Path | str, pixels: np.ndarray, *, num_threads: int = 2, progress: bool = False) -> np.ndarray:
    """Returns float32 [n, D], an exported file's embeddings of uint8 [n, H, W, 3], one image at a time."""
    embed = open_embedder(path, num_threads=num_threads)
    images = progress_bar(pixels, total=len(pixels), description=Path(path).name) if progress else pixels
    return np.concatenate([embed(image[None]) for image in images])


def _tflite_embedder(path: Path | str, num_threads: int) -> Embedder:
    interpreter = open_tflite(path, num_threads=num_threads)
    keys = interpreter.get_signature_list()
    key = "embed" if "embed" in keys else "serving_default"
    if keys.get(key) != {"inputs": ["image"], "outputs": ["embedding"]}:
        raise KdistillError(f"{path} has no input 'image' with an output 'embedding'; its signatures are {keys}")
    with quiet():
        runner = interpreter.get_signature_runner(key)
    return lambda image: runner(image=image)["embedding"]


def _onnx_embedder(path: Path | str, num_threads: int) -> Embedder:
    session = open_onnx(path, num_threads=num_threads)
    inputs, outputs = ([value.name for value in values] for values in (session.get_inputs(), session.get_outputs()))
    if inputs != ["image"] or "embedding" not in outputs:
        raise KdistillError(f"{path} has no input 'image' with an output 'embedding'; it has {inputs} and {outputs}")
    return lambda image: session.run(["embedding"], {"image": image})[0]
