"""The client of `retriever.tflite` and `retriever.onnx`: an image in, names and scores out; no TensorFlow."""

import dataclasses
from pathlib import Path

import numpy as np

from export.retriever.engine import open_engine
from export.retriever.sidecar import read_sidecar
from kdistill.data.decoding import MAX_MEGAPIXELS, Photo, photo_pixels, resize
from kdistill.errors import ArgumentError, KdistillError

MAX_BATCH, MAX_SCORES = 32, 2**25
"""Queries that are answered at once, and scores that may stand in memory for them (of four bytes)."""


@dataclasses.dataclass(frozen=True)
class Match:
    """One neighbour: its name, its row in the gallery, and the cosine with the query."""

    id: str
    row: int
    score: float


class Retriever:
    """Searches one retriever file; all calls may come from many threads at a time.

    A small `.tflite` file runs as many calls at once as `num_threads` leaves room for on the cores, each in an
    interpreter of its own; a large one (32 MiB) runs one call at a time, the others wait. `.onnx` runs all at once.

    Attributes:
        ids: names of the gallery's rows.
        k: neighbours in an answer, fixed when the file was built.
        image_size: side in pixels of the square that the student takes; None for a file without a student.
        dimension: D of the embedding.
        max_megapixels: million pixels that a photo may have.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        num_threads: int = 2,
        check_sha256: bool = True,
        max_megapixels: float = MAX_MEGAPIXELS,
    ) -> None:
        """Opens the file and its sidecar.

        Args:
            path: the .tflite or .onnx file; the sidecar stands beside it (see `export.retriever.sidecar.sidecar_path`).
            num_threads: of the runtime.
            check_sha256: compare the file with the sidecar's checksum (about a second for a gigabyte).
            max_megapixels: photos of more than so many million pixels are refused before they are decoded.

        Raises:
            ArgumentError: a number of threads below 1.
            KdistillError: either file is missing, damaged, foreign, or they do not belong together.
        """
        path = Path(path)
        if isinstance(num_threads, bool) or not isinstance(num_threads, int) or num_threads < 1:
            raise ArgumentError(
                f"the threads of a retriever are a whole number of at least 1; {num_threads!r} was given"
            )
        self.max_megapixels = max_megapixels
        sidecar = read_sidecar(path)
        self.ids, self.k, self.dimension = sidecar.ids, sidecar.k, sidecar.dimension
        if check_sha256:
            sidecar.check_file(path)
        batch = min(MAX_BATCH, max(1, MAX_SCORES // len(self.ids))) if sidecar.batches else 1
        self._engine = open_engine(path, num_threads, batch)
        self.image_size = self._engine.image_size

    def embed(self, image: Photo) -> np.ndarray:
        """Returns float32 [D], the student's embedding of one image (see `search` for what an image may be)."""
        pixels = self._pixels(image)
        return self._engine.embed(pixels)[0]

    def search(self, image: Photo) -> list[Match]:
        """Returns the k nearest rows of the gallery, best first.

        Args:
            image: a path, the bytes of a file, an open file, a Pillow image, or uint8 [H, W, 3] RGB; of any mode (the
                rule stands in `kdistill.data.decoding`).

        Raises:
            UnreadableImage: it cannot be read or decoded, or has more than `max_megapixels` million pixels.
        """
        pixels = self._pixels(image)
        scores, rows = self._engine.search(pixels)
        return self._matches(scores[0], rows[0])

    def search_embedding(self, embedding: np.ndarray) -> list[Match]:
        """Returns the k nearest rows to an embedding, float [D] of norm 1, best first."""
        scores, rows = self.search_embeddings(_as_floats(embedding)[None])
        return self._matches(scores[0], rows[0])

    def search_embeddings(self, embeddings: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Searches for many queries, up to MAX_BATCH of them at once.

        Args:
            embeddings: float [Q, D] of norm 1.

        Returns:
            Scores float32 [Q, k] and row numbers int32 [Q, k], best first.

        Raises:
            ArgumentError: another shape, or values that are not finite.
        """
        queries = _as_floats(embeddings)
        if queries.ndim != 2 or queries.shape[1] != self.dimension:
            raise ArgumentError(
                f"queries are embeddings of {self.dimension} dimensions; these have the shape {list(queries.shape)[1:]}"
            )
        if not np.isfinite(queries).all():
            raise ArgumentError("the query's embedding holds values that are not finite")
        if not len(queries):
            return np.empty((0, self.k), np.float32), np.empty((0, self.k), np.int32)
        return self._engine.search_embeddings(queries)

    def _matches(self, scores: np.ndarray, rows: np.ndarray) -> list[Match]:
        if len(rows) and int(rows.max()) >= len(self.ids):
            raise KdistillError(
                f"the file found row {int(rows.max())} and its sidecar has {len(self.ids)} names: they do not belong "
                "together"
            )
        return [Match(self.ids[int(row)], int(row), float(score)) for score, row in zip(scores, rows, strict=True)]

    def _pixels(self, image: Photo) -> np.ndarray:
        if self.image_size is None:
            raise KdistillError("this file holds a gallery without a student; give embeddings instead of images")
        return resize(photo_pixels(image, self.max_megapixels), self.image_size)[None]


def _as_floats(values: np.ndarray) -> np.ndarray:
    """Returns float32 of any shape.

    Raises:
        ArgumentError: rows of unlike lengths, text or complex numbers.
    """
    try:
        array = np.asarray(values)
        if array.dtype.kind in "fiub" or array.dtype == object:
            return np.ascontiguousarray(array, np.float32).reshape(array.shape)
    except (ValueError, TypeError) as error:
        raise ArgumentError(f"an embedding is an array of numbers: {error}") from error
    raise ArgumentError(f"an embedding is an array of numbers; {array.dtype} was given")
