"""The client of `retriever.tflite`: an image in, names and scores out; no TensorFlow."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import PIL.Image

from export.files import sha256_of
from export.quiet import quiet
from export.runtime import open_tflite
from kdistill.data.images import UnreadableImage, decode, resize
from kdistill.errors import ArgumentError, KdistillError

SIGNATURES = ("embed", "search", "search_embedding")


@dataclasses.dataclass(frozen=True)
class Match:
    """One neighbour: its name, its row in the gallery, and the cosine with the query."""

    id: str
    row: int
    score: float


class Retriever:
    """Searches one retriever file.

    Attributes:
        ids: names of the gallery's rows.
        k: neighbours in an answer, fixed when the file was built.
        image_size: (height, width) in pixels that the student takes.
        dimension: D of the embedding.
    """

    def __init__(self, path: Path | str, *, num_threads: int = 2, check_sha256: bool = True) -> None:
        """Opens the file and its sidecar.

        Args:
            path: the .tflite file; the sidecar is the .json of the same stem.
            num_threads: of the interpreter.
            check_sha256: compare the file with the sidecar's checksum (about a second for a gigabyte).

        Raises:
            KdistillError: either file is missing, damaged, foreign, or they do not belong together.
        """
        path = Path(path)
        sidecar = _read_sidecar(path)
        self.ids: tuple[str, ...] = tuple(sidecar["ids"])
        self.k = int(sidecar["k"])
        self.dimension = int(sidecar["dimension"])
        if not path.is_file():
            raise KdistillError(f"retriever {path} does not exist")
        if check_sha256 and sha256_of(path) != sidecar["sha256"]:
            raise KdistillError(f"{path} and {path.with_suffix('.json')} do not belong together: the checksum differs")
        interpreter = open_tflite(path, num_threads=num_threads)
        if not set(SIGNATURES) <= interpreter.get_signature_list().keys():
            raise KdistillError(f"{path} is not a retriever: it lacks the signatures {', '.join(SIGNATURES)}")
        with quiet():
            runners = {key: interpreter.get_signature_runner(key) for key in SIGNATURES}
        self._embed, self._search, self._search_embedding = (runners[key] for key in SIGNATURES)
        shape = self._search.get_input_details()["image"]["shape"]
        self.image_size = (int(shape[1]), int(shape[2]))

    def embed(self, image: "PIL.Image.Image | np.ndarray | Path | str | bytes") -> np.ndarray:
        """Returns float32 [D], the student's embedding of one image (see `search` for what an image may be)."""
        return self._embed(image=self._pixels(image))["embedding"][0]

    def search(self, image: "PIL.Image.Image | np.ndarray | Path | str | bytes") -> list[Match]:
        """Returns the k nearest rows of the gallery, best first.

        Args:
            image: a path, the bytes of a file, a Pillow image, or uint8 [H, W, 3] RGB; of any size and mode.

        Raises:
            UnreadableImage: it cannot be read or decoded.
        """
        answer = self._search(image=self._pixels(image))
        return self._matches(answer["scores"], answer["ids"])

    def search_embedding(self, embedding: np.ndarray) -> list[Match]:
        """Returns the k nearest rows to an embedding, float [D] of norm 1, best first."""
        scores, rows = self.search_embeddings(np.asarray(embedding)[None])
        return self._matches(scores[0], rows[0])

    def search_embeddings(self, embeddings: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Searches for many queries.

        Args:
            embeddings: float [Q, D] of norm 1.

        Returns:
            Scores float32 [Q, k] and row numbers int32 [Q, k], best first.

        Raises:
            ArgumentError: another shape, or values that are not finite.
        """
        queries = np.ascontiguousarray(embeddings, np.float32)
        if queries.ndim != 2 or queries.shape[1] != self.dimension:
            raise ArgumentError(
                f"queries are embeddings of {self.dimension} dimensions; these have the shape {list(queries.shape)[1:]}"
            )
        if not np.isfinite(queries).all():
            raise ArgumentError("the query's embedding holds values that are not finite")
        answers = [self._search_embedding(embedding=query[None]) for query in queries]
        scores = np.concatenate([answer["scores"] for answer in answers]) if answers else np.empty((0, self.k))
        rows = np.concatenate([answer["ids"] for answer in answers]) if answers else np.empty((0, self.k))
        return scores.astype(np.float32), rows.astype(np.int32)

    def _matches(self, scores: np.ndarray, rows: np.ndarray) -> list[Match]:
        return [Match(self.ids[int(row)], int(row), float(score)) for score, row in zip(scores, rows, strict=True)]

    def _pixels(self, image: "PIL.Image.Image | np.ndarray | Path | str | bytes") -> np.ndarray:
        height, width = self.image_size
        if height != width:
            raise KdistillError(f"this client takes students with square inputs, this one takes {width} x {height}")
        return resize(to_rgb(image), height)[None]


def to_rgb(image: "PIL.Image.Image | np.ndarray | Path | str | bytes") -> np.ndarray:
    """Returns uint8 [H, W, 3]: upright, any mode turned to RGB.

    Raises:
        UnreadableImage: it cannot be read or decoded, or the array has another shape or type.
    """
    if isinstance(image, str | Path):
        try:
            return np.asarray(decode(Path(image).read_bytes(), str(image)))
        except OSError as error:
            raise UnreadableImage(f"image {image} cannot be read: {error.strerror or error}") from error
    if isinstance(image, bytes):
        return np.asarray(decode(image, "given as bytes"))
    if isinstance(image, PIL.Image.Image):
        return np.asarray(image.convert("RGB"))
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise UnreadableImage("an image is a path, bytes, a Pillow image, or an array uint8 [height, width, 3]")
    return image


def _read_sidecar(path: Path) -> dict:
    sidecar = path.with_suffix(".json")
    try:
        content = json.loads(sidecar.read_text(encoding="utf-8"))
        if not {"ids", "k", "dimension", "sha256"} <= content.keys():
            raise ValueError("it lacks ids, k, dimension or sha256")
    except OSError as error:
        raise KdistillError(f"the sidecar {sidecar} cannot be read: {error.strerror or error}") from error
    except (ValueError, AttributeError) as error:
        raise KdistillError(f"the sidecar {sidecar} is damaged: {error}") from error
    return content
