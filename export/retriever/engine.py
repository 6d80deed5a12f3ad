"""What runs a retriever file: one small class a format, with the same three calls."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from kdistill.console.quiet import quiet
from kdistill.errors import KdistillError
from kdistill.runtimes.opening import open_onnx, open_tflite

Answer = tuple[np.ndarray, np.ndarray]
"""Scores float32 [Q, k] and row numbers int32 [Q, k], best first."""


class Engine(Protocol):
    """An open retriever; `input_shape` is [H, W] of the images that it takes, None for a file without a student."""

    input_shape: tuple[int, int] | None

    def embed(self, image: np.ndarray) -> np.ndarray:
        """Returns float32 [1, D] for uint8 [1, H, W, 3]."""

    def search(self, image: np.ndarray) -> Answer:
        """Returns the neighbours of uint8 [1, H, W, 3]."""

    def search_embeddings(self, queries: np.ndarray) -> Answer:
        """Returns the neighbours of float32 [Q, D]."""


def open_engine(path: Path, num_threads: int, batch: int) -> Engine:
    """Opens a .tflite or .onnx retriever that answers at most `batch` queries at once.

    Raises:
        KdistillError: the file is missing, damaged or not a retriever.
    """
    if path.suffix == ".onnx":
        return OnnxEngine(path, num_threads, batch)
    return TFLiteEngine(path, num_threads, batch)


class TFLiteEngine:
    """Runs the signatures of a .tflite file."""

    def __init__(self, path: Path, num_threads: int, batch: int) -> None:
        """Opens the file; errors as in `open_engine`."""
        self._batch = batch
        interpreter = open_tflite(path, num_threads=num_threads)
        keys = interpreter.get_signature_list()
        if "search_embedding" not in keys:
            raise KdistillError(f"{path} is not a retriever: it lacks the signature search_embedding")
        with quiet():
            self._runners = {key: interpreter.get_signature_runner(key) for key in keys}
        self.input_shape: tuple[int, int] | None = None
        if "search" in keys:
            _, height, width, _ = self._runners["search"].get_input_details()["image"]["shape"]
            self.input_shape = int(height), int(width)

    def embed(self, image: np.ndarray) -> np.ndarray:
        """See `Engine`."""
        return self._runners["embed"](image=image)["embedding"]

    def search(self, image: np.ndarray) -> Answer:
        """See `Engine`."""
        answer = self._runners["search"](image=image)
        return answer["scores"][None], answer["ids"][None]

    def search_embeddings(self, queries: np.ndarray) -> Answer:
        """See `Engine`."""
        # A runner resizes its input to what it is given.
        search = self._runners["search_embedding"]
        answers = [search(embedding=part) for part in _parts(queries, self._batch)]
        return _joined([(answer["scores"], answer["ids"]) for answer in answers])


class OnnxEngine:
    """Runs an .onnx file."""

    def __init__(self, path: Path, num_threads: int, batch: int) -> None:
        """Opens the file; errors as in `open_engine`."""
        self._batch = batch
        self._session = open_onnx(path, num_threads=num_threads)
        if [value.name for value in self._session.get_outputs()] != ["embedding", "scores", "ids"]:
            raise KdistillError(f"{path} is not a retriever: its outputs are not embedding, scores and ids")
        image = next((value for value in self._session.get_inputs() if value.name == "image"), None)
        self.input_shape: tuple[int, int] | None = None
        if image is not None:
            _, height, width, _ = image.shape
            self.input_shape = int(height), int(width)

    def embed(self, image: np.ndarray) -> np.ndarray:
        """See `Engine`."""
        return self._session.run(["embedding"], {"image": image})[0]

    def search(self, image: np.ndarray) -> Answer:
        """See `Engine`."""
        return self._session.run(["scores", "ids"], {"image": image})

    def search_embeddings(self, queries: np.ndarray) -> Answer:
        """See `Engine`."""
        inputs: dict[str, np.ndarray] = {}
        if self.input_shape is not None:
            inputs["image"] = np.empty((0, *self.input_shape, 3), np.uint8)
        parts = _parts(queries, self._batch)
        return _joined([self._session.run(["scores", "ids"], {"query": part, **inputs}) for part in parts])


def _parts(queries: np.ndarray, batch: int) -> list[np.ndarray]:
    return [queries[start : start + batch] for start in range(0, len(queries), batch)]


def _joined(answers: Sequence[Answer]) -> Answer:
    scores, rows = zip(*answers, strict=True)
    return np.concatenate(scores), np.concatenate(rows)
