"""MediaPipe's resize, which it has no call for: a model that returns its input shows what MediaPipe feeds a model."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from export.formats.flatbuffer import AlignedBuffer, write_model
from export.formats.graph import GraphBuilder
from kdistill.console.quiet import quiet


class MediaPipeResize:
    """Resizes as MediaPipe's `ImageEmbedder` does before a model sees the image.

    Close it before Python ends: MediaPipe cannot then do it itself.
    """

    def __init__(self) -> None:
        """Opens nothing yet: each size has an embedder of its own."""
        self._embedders: dict[int, Any] = {}

    def __call__(self, pixels: np.ndarray, size: int) -> np.ndarray:
        """Returns uint8 [size, size, 3] for uint8 [H, W, 3].

        Raises:
            ImportError: mediapipe is not installed.
        """
        import mediapipe

        if size not in self._embedders:
            self._embedders[size] = _open_embedder(size)
        image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(pixels))
        values = self._embedders[size].embed(image).embeddings[0].embedding
        return np.asarray(values).reshape(size, size, 3).astype(np.uint8)

    def close(self) -> None:
        """Closes the embedders."""
        while self._embedders:
            self._embedders.popitem()[1].close()


def _open_embedder(size: int) -> Any:
    with quiet():  # it greets from native code
        from mediapipe.tasks import python as tasks
        from mediapipe.tasks.python import vision

        options = vision.ImageEmbedderOptions(base_options=tasks.BaseOptions(model_asset_buffer=_identity(size)))
        return vision.ImageEmbedder.create_from_options(options)


def _identity(size: int) -> bytes:
    """Returns a .tflite file from uint8 [1, size, size, 3] to the same numbers, float32 [1, size * size * 3]."""
    model = schema.ModelT(
        version=3, description="kdistill", operatorCodes=[], subgraphs=[], buffers=[AlignedBuffer(data=None)]
    )
    builder = GraphBuilder(model, "pixels")
    image = builder.input((1, size, size, 3), np.uint8, "image")
    values = builder.tensor((1, size, size, 3), np.float32, "values")
    builder.operator("CAST", [image], [values], "CastOptions")
    builder.finish([builder.reshape(values, (1, size * size * 3))], ["image"], ["pixels"])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pixels.tflite"
        write_model(model, path)
        return path.read_bytes()
