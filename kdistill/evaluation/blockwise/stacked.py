"""Several embedding matrices as one gallery, without copying: a labelled set and its distractors, or shards."""

from collections.abc import Sequence

import numpy as np

from kdistill.errors import KdistillError


class StackedRows:
    """Matrices [n_i, D], possibly memory-mapped, seen as one matrix [n_1 + n_2 + ..., D]."""

    ndim = 2

    def __init__(self, parts: Sequence[np.ndarray]) -> None:
        """Takes the matrices in order.

        Raises:
            KdistillError: none is given, or their dimensions differ.
        """
        if not parts or any(part.ndim != 2 for part in parts):
            raise KdistillError("a stacked gallery takes at least one matrix of embeddings [n, dimension]")
        dims = {part.shape[1] for part in parts}
        if len(dims) > 1:
            raise KdistillError(f"the parts of the gallery have different dimensions: {sorted(dims)}")
        self.parts = tuple(parts)
        self._edges = np.cumsum([0, *(len(part) for part in parts)])
        self.shape = (int(self._edges[-1]), dims.pop())

    def __len__(self) -> int:
        """Returns the number of rows of all parts."""
        return self.shape[0]

    def __getitem__(self, index: slice | np.ndarray) -> np.ndarray:
        """Returns rows [n, D]: a slice (of one part, without copying) or an integer array."""
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            if step == 1:
                pieces = [part[first:last] for part, first, last in self.pieces(start, stop)]
                return pieces[0] if len(pieces) == 1 else np.concatenate(pieces or [self.parts[0][:0]])
            index = np.arange(start, stop, step)
        owners = np.searchsorted(self._edges, index, side="right") - 1
        return np.stack([self.parts[o][i - self._edges[o]] for o, i in zip(owners, index, strict=True)])

    def pieces(self, start: int, stop: int) -> list[tuple[np.ndarray, int, int]]:
        """Returns (part, first, last) of each part that holds some of the rows [start, stop)."""
        found = []
        for part, edge in zip(self.parts, self._edges[:-1], strict=True):
            first, last = max(start - edge, 0), min(stop - edge, len(part))
            if first < last:
                found.append((part, int(first), int(last)))
        return found
