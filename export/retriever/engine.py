"""What runs a retriever file: one small class a format, with the same three calls, from any number of threads."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from kdistill.errors import KdistillError
from kdistill.runtimes.image_model import ImageInput
from kdistill.runtimes.inputs import quantised, read_image_input
from kdistill.runtimes.onnx import open_onnx

Answer = tuple[np.ndarray, np.ndarray]
"""Scores float32 [Q, k] and row numbers int32 [Q, k], best first."""


class Engine(Protocol):
    """An open retriever; `image_size` is the side of the images that it takes, None for a file without a student."""

    image_size: int | None

    def embed(self, image: np.ndarray) -> np.ndarray:
        """Returns float32 [1, D] for uint8 [1, S, S, 3]."""

    def search(self, image: np.ndarray) -> Answer:
        """Returns the neighbours of uint8 [1, S, S, 3]."""

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
        from kdistill.runtimes.tflite import tensor_input, tflite_pool  # LiteRT, which `.onnx` files do not need

        self._batch = batch
        self._pool = tflite_pool(path, _runners, num_threads=num_threads)
        self.image_size: int | None = None
        self._source: ImageInput | None = None
        with self._pool.borrow() as runners:
            if "search_embedding" not in runners:
                raise KdistillError(f"{path} is not a retriever: it lacks the signature search_embedding")
            if "search" in runners:
                details = runners["search"].get_input_details()["image"]
                self._source = tensor_input(details, f"the retriever {path}")
                self.image_size = self._source.side

    def embed(self, image: np.ndarray) -> np.ndarray:
        """See `Engine`."""
        with self._pool.borrow() as runners:
            return runners["embed"](image=self._taken(image))["embedding"]

    def search(self, image: np.ndarray) -> Answer:
        """See `Engine`."""
        with self._pool.borrow() as runners:
            answer = runners["search"](image=self._taken(image))
        return answer["scores"][None], answer["ids"][None]

    def _taken(self, image: np.ndarray) -> np.ndarray:
        """Returns pixels as the file takes them; a twin takes float32 or int8."""
        return image if self._source is None or self._source.takes_bytes else quantised(image, self._source)

    def search_embeddings(self, queries: np.ndarray) -> Answer:
        """See `Engine`."""
        answers = []
        for part in _parts(queries, self._batch):
            # Given back after each part, so that a caller with many queries does not hold up the others.
            with self._pool.borrow() as runners:
                # A runner resizes its input to what it is given.
                answer = runners["search_embedding"](embedding=part)
            answers.append((answer["scores"], answer["ids"]))
        return _joined(answers)


class OnnxEngine:
    """Runs an .onnx file."""

    def __init__(self, path: Path, num_threads: int, batch: int) -> None:
        """Opens the file; errors as in `open_engine`."""
        self._batch = batch
        self._session = open_onnx(path, num_threads=num_threads)
        if [value.name for value in self._session.get_outputs()] != ["embedding", "scores", "ids"]:
            raise KdistillError(f"{path} is not a retriever: its outputs are not embedding, scores and ids")
        image = next((value for value in self._session.get_inputs() if value.name == "image"), None)
        self.image_size: int | None = None
        if image is not None:
            self.image_size = read_image_input(f"the retriever {path}", image.shape, np.uint8).side

    def embed(self, image: np.ndarray) -> np.ndarray:
        """See `Engine`."""
        return self._session.run(["embedding"], {"image": image})[0]

    def search(self, image: np.ndarray) -> Answer:
        """See `Engine`."""
        return self._session.run(["scores", "ids"], {"image": image})

    def search_embeddings(self, queries: np.ndarray) -> Answer:
        """See `Engine`."""
        inputs: dict[str, np.ndarray] = {}
        if self.image_size is not None:
            inputs["image"] = np.empty((0, self.image_size, self.image_size, 3), np.uint8)
        parts = _parts(queries, self._batch)
        return _joined([self._session.run(["scores", "ids"], {"query": part, **inputs}) for part in parts])


def _runners(interpreter: Any) -> dict[str, Any]:
    return {key: interpreter.get_signature_runner(key) for key in interpreter.get_signature_list()}


def _parts(queries: np.ndarray, batch: int) -> list[np.ndarray]:
    return [queries[start : start + batch] for start in range(0, len(queries), batch)]


def _joined(answers: Sequence[Answer]) -> Answer:
    scores, rows = zip(*answers, strict=True)
    return np.concatenate(scores), np.concatenate(rows)
