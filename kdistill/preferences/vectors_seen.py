"""Vectors of an embedding teacher, kept while it plays a teacher that only compares."""

import threading
from collections.abc import Sequence

import numpy as np

from kdistill.data.images import Image
from kdistill.teachers.teacher import Teacher


class VectorsSeen:
    """Embeds each image once, however many comparisons it stands in."""

    def __init__(self, teacher: Teacher) -> None:
        """Starts with none."""
        self._teacher, self._lock = teacher, threading.Lock()
        self._vectors: dict[str, np.ndarray] = {}

    def see(self, images: Sequence[Image]) -> None:
        """Embeds the images, by id, that were not seen before; fails as `Teacher.embed` does.

        From several threads one at a time: the same image must not be asked about twice.
        """
        with self._lock:
            new = list({image.id: image for image in images if image.id not in self._vectors}.values())
            most = getattr(self._teacher, "largest_batch", None) or max(len(new), 1)
            for part in (new[first : first + most] for first in range(0, len(new), most)):
                vectors = np.asarray(self._teacher.embed(part), np.float64)
                norms = np.linalg.norm(vectors, axis=1, keepdims=True)
                names = [image.id for image in part]
                self._vectors.update(zip(names, vectors / np.where(norms > 0, norms, 1.0), strict=True))

    def cosines(self, query: Image, candidates: Sequence[Image]) -> np.ndarray:
        """Returns float64 [k]: the cosine of the query with each candidate, all seen before."""
        return np.stack([self._vectors[image.id] for image in candidates]) @ self._vectors[query.id]
