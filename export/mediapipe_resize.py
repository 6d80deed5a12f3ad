"""MediaPipe's resize, which it has no call for: a model that returns its own input shows what MediaPipe feeds a model."""

import atexit
import functools
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from export.flatbuffer import AlignedBuffer, write_model
from export.graph import GraphBuilder
from kdistill.quiet import quiet


def resize(pixels: np.ndarray, size: int) -> np.ndarray:
    """Returns uint8 [size, size, 3]: what `ImageEmbedder` makes of uint8 [H, W, 3] before a model sees it.

    Raises:
        ImportError: mediapipe is not installed.
    """
    import mediapipe

    with quiet():  # it greets from native code
        image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(pixels))
        answer = _embedder(size).embed(image)
    return np.asarray(answer.embeddings[0].embedding).reshape(size, size, 3).astype(np.uint8)


@functools.cache
def _embedder(size: int) -> Any:
    from mediapipe.tasks import python as tasks
    from mediapipe.tasks.python import vision

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pixels.tflite"
        _write_identity(size, path)
        options = vision.ImageEmbedderOptions(base_options=tasks.BaseOptions(model_asset_buffer=path.read_bytes()))
    embedder = vision.ImageEmbedder.create_from_options(options)
    atexit.register(embedder.close)  # its own destructor fails when the interpreter is half gone
    return embedder


def _write_identity(size: int, path: Path) -> None:
    """Writes a model from uint8 [1, size, size, 3] to the same numbers, float32 [1, size * size * 3]."""
    model = schema.ModelT(
        version=3, description="kdistill", operatorCodes=[], subgraphs=[], buffers=[AlignedBuffer(data=None)]
    )
    builder = GraphBuilder(model, "pixels")
    image = builder.input((1, size, size, 3), np.uint8, "image")
    values = builder.tensor((1, size, size, 3), np.float32, "values")
    builder.operator("CAST", [image], [values], "CastOptions")
    builder.finish([builder.reshape(values, (1, size * size * 3))], ["image"], ["pixels"])
    write_model(model, path)
