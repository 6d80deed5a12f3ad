"""The dimensions of a teacher's space that are kept: one orthogonal projection for all that stands in it."""

import dataclasses
from pathlib import Path

import numpy as np

from kdistill.errors import KdistillError
from kdistill.files.archives import load_arrays

_ROWS = 20_000
_BLOCK = 8192


@dataclasses.dataclass(frozen=True)
class Projection:
    """An orthogonal projection, after which rows have unit length again.

    Attributes:
        axes: float32 [Dt, D], orthonormal columns; the identity where all dimensions are kept.
        spanned: how many of the axes the vectors that it was found from determine; the others are any directions
            orthogonal to them.
    """

    axes: np.ndarray
    spanned: int

    @property
    def whole(self) -> bool:
        """Whether all dimensions are kept, as they are."""
        return self.axes.shape[0] == self.axes.shape[1]

    def transform(self, vectors: np.ndarray) -> np.ndarray:
        """Returns float32 [n, D] of unit length (0 for a row of zeros) from float [n, Dt], possibly memory-mapped.

        Raises:
            KdistillError: vectors of another dimension.
        """
        if vectors.ndim != 2 or vectors.shape[1] != len(self.axes):
            raise KdistillError(
                f"the projection is of a space of {len(self.axes)} dimensions; vectors of shape {list(vectors.shape)} "
                "were given"
            )
        found = np.empty((len(vectors), self.axes.shape[1]), np.float32)
        for first in range(0, len(vectors), _BLOCK):
            rows = np.asarray(vectors[first : first + _BLOCK], np.float32)
            rows = rows if self.whole else rows @ self.axes
            found[first : first + _BLOCK] = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
        return found


def read_projection(path: Path | str) -> Projection:
    """Returns the projection of a run's `space.npz`.

    Raises:
        KdistillError: the file is missing, damaged, or no such file.
    """
    axes, spanned = load_arrays(path, ("axes", "spanned"))
    if axes.ndim != 2 or axes.dtype != np.float32 or not 0 < axes.shape[1] <= axes.shape[0]:
        raise KdistillError(f"{path} is no space.npz of a run: its axes have the shape {list(axes.shape)}")
    return Projection(axes, int(spanned))


def fit_projection(vectors: np.ndarray, dimension: int) -> Projection:
    """Returns the projection onto the leading principal directions of the vectors' unit rows.

    Without centring: of all projections to so many dimensions this one keeps their cosines best (Eckart & Young,
    1936). Where as many dimensions are kept as there are, or more are asked for, it is the identity.

    Args:
        vectors: float [n, Dt], known ones; of more than 20,000 as many are looked at, evenly spread.
        dimension: D; 0 for Dt.

    Raises:
        KdistillError: not one vector.
    """
    if not len(vectors):
        raise KdistillError("a projection of the teacher's space is found from known vectors, and there is none")
    size = vectors.shape[1]
    if not 0 < dimension < size:
        return Projection(np.eye(size, dtype=np.float32), size)
    rows = np.asarray(vectors[:: -(-len(vectors) // _ROWS)], np.float64)
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    _, axes = np.linalg.eigh(rows.T @ rows)
    return Projection(np.ascontiguousarray(axes[:, ::-1][:, :dimension], np.float32), min(dimension, len(rows)))
