"""A published folder, opened: embeds and searches with whichever runtime is installed; no TensorFlow."""

import functools
import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from export.publish.checksums import checked
from export.retriever.client import Match, Retriever
from kdistill.data.decoding import MAX_MEGAPIXELS, Photo, photo_pixels, resize
from kdistill.errors import ArgumentError, KdistillError
from kdistill.runtimes.embedders import Embedder, open_embedder

_RUNTIMES = {".tflite": "ai_edge_litert", ".onnx": "onnxruntime"}


class Published:
    """A published student, and its gallery where a retriever is among the files.

    Attributes:
        folder: where it lies.
        card: what stands in `card.json`.
        file: the student's file that embeds: the one to ship, or the first that a runtime is installed for.
    """

    def __init__(self, folder: Path | str, *, file: str | None = None, check_sha256: bool = True) -> None:
        """Opens the folder.

        Args:
            folder: what `python -m export publish` wrote.
            file: which of its student's files; None for the one to ship.
            check_sha256: compare every file with its checksum.

        Raises:
            ArgumentError: the folder has no such file.
            KdistillError: the folder is missing, damaged or foreign, or no runtime for its files is installed.
        """
        self.folder = Path(folder)
        listed = checked(self.folder, content=check_sha256)
        try:
            self.card: dict[str, Any] = json.loads((self.folder / "card.json").read_text(encoding="utf-8"))
            names = [str(entry["name"]) for entry in self.card["files"]]
            ship = self.card["ship"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise KdistillError(f"{self.folder / 'card.json'} is no card of a published folder: {error}") from error
        absent = [name for name in names if name not in listed]
        if absent:
            raise KdistillError(f"{self.folder} lists no {absent[0]}, which its card describes")
        self._students = [name for name in names if not name.startswith("retriever")]
        self._retrievers = [name for name in names if name.startswith("retriever")]
        if file is not None and file not in self._students:
            raise ArgumentError(f"{self.folder} has no student's file {file!r}; it has {', '.join(self._students)}")
        wanted = [file] if file is not None else [*([ship] if ship else []), *self._students]
        self.file = self._runnable(wanted)

    def embed(self, photos: Photo | Sequence[Photo]) -> np.ndarray:
        """Returns float32 [D] of unit length for a photo, [n, D] for a list of them.

        Args:
            photos: each a path, the bytes of a file, an open file, a Pillow image, or uint8 [H, W, 3] RGB.

        Raises:
            UnreadableImage: one cannot be read or decoded.
        """
        if isinstance(photos, list | tuple):
            return np.stack([self._embedded(photo) for photo in photos])
        return self._embedded(photos)

    def _embedded(self, photo: Any) -> np.ndarray:
        pixels = resize(photo_pixels(photo, MAX_MEGAPIXELS), self._embedder.image_size)
        return self._embedder.embed(pixels[None])[0]

    def search(self, photo: Photo) -> list[Match]:
        """Returns the nearest photos of the published gallery, best first; errors as in `embed`.

        Raises:
            KdistillError: the folder holds no retriever.
        """
        return self.retriever.search(photo)

    @functools.cached_property
    def retriever(self) -> Any:
        """The retriever, opened.

        Raises:
            KdistillError: the folder holds none, or no runtime for it is installed.
        """
        if not self._retrievers:
            raise KdistillError(f"{self.folder} holds no retriever, so there is no gallery to search")
        path = self.folder / self._runnable(self._retrievers)
        whole = self.folder / f"retriever{path.suffix}"
        if path == whole:
            return Retriever(path, check_sha256=False)
        from export.retriever.shards import ShardedRetriever, shards_of

        return ShardedRetriever(shards_of(whole))

    @functools.cached_property
    def _embedder(self) -> Embedder:
        return open_embedder(self.folder / self.file)

    def _runnable(self, names: Sequence[str]) -> str:
        for name in names:
            if importlib.util.find_spec(_RUNTIMES[Path(name).suffix]) is not None:
                return name
        wanted = " or ".join(sorted({_RUNTIMES[Path(name).suffix].replace("_", "-") for name in names}))
        raise KdistillError(f"{self.folder} needs a runtime that is not installed: pip install {wanted}")
