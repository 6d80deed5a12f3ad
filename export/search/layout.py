"""How the scores of a gallery are laid out, so that the best k are found without sorting all: shared by both formats.

The top k of G scores costs more than the scores themselves when it is taken over all rows. Laid out as a matrix of
blocks, the k best rows lie in the k blocks with the largest maxima, and only these are looked into. This is exact, and
so is finding these blocks in the same way.
"""

import dataclasses
import math

import numpy as np

MIN_SHORTLIST = 16
_SHORTLIST_FACTORS = ((20_000, 2), (200_000, 3), (math.inf, 6))
"""Rows of the shortlist for each of the k, by gallery size. In galleries of 128-d embeddings grown dense (see
`benchmarks/search/__main__.py`), it then held at least 99% of the true best ten at 10k, 100k and 1M rows."""
_PARTIAL_FACTORS = ((200_000, 10), (250_000, 20), (math.inf, 50))
"""The same where a part of the coordinates is scanned (`export/search/first_pass.py`)."""
_COST_INSIDE = 3
"""Time for one row of the chosen blocks in that of one block's maximum."""
_TWO_LEVELS = 512
"""Groups for each row inside from which on maxima of maxima are worth their operators."""
PADDING = -1e4
"""Score of rows that only fill up the last block; cosines are at least -1."""


@dataclasses.dataclass(frozen=True)
class Layout:
    """Scores as a matrix [depth, blocks]: row r of the gallery is at [r // blocks, r % blocks].

    Attributes:
        groups: maxima that are looked at directly.
        depths: scores of which each maximum is taken; a second number is for maxima of the first maxima. Empty where
            all rows are looked at directly.
    """

    groups: int
    depths: tuple[int, ...]

    @property
    def padded(self) -> int:
        """Rows including those that fill up the last block."""
        return self.groups * math.prod(self.depths)

    def pad(self, values: np.ndarray, fill: float = 0) -> np.ndarray:
        """Returns `values` [G, ...] with rows of `fill` up to [padded, ...]."""
        missing = self.padded - len(values)
        if not missing:
            return values
        return np.concatenate([values, np.full((missing, *values.shape[1:]), fill, values.dtype)])

    def bias(self, gallery_size: int) -> np.ndarray | None:
        """Returns float32 [padded], what to add to all scores so that padding is never found; None without padding."""
        return None if self.padded == gallery_size else self.pad(np.zeros(gallery_size, np.float32), PADDING)


def layout(gallery_size: int, count: int) -> Layout:
    """Returns the layout that makes the small top-k cost about the same: over the groups, and inside the best.

    A row inside is dearer than a group, since it is gathered before.
    """
    depth = gallery_size / (_COST_INSIDE * count)
    levels = 2 if depth >= _TWO_LEVELS else 1
    each = max(1, round(depth ** (1 / (levels + 1))))
    if each < 4:
        return Layout(gallery_size, ())
    return Layout(math.ceil(gallery_size / each**levels), (each,) * levels)


def shortlist(gallery_size: int, k: int, *, partial: bool) -> int:
    """Returns how many rows are ranked again: the denser the gallery, the more of them lie within the first error.

    Args:
        gallery_size: G.
        k: neighbours in an answer.
        partial: whether the first scores come from a part of the coordinates.
    """
    factors = _PARTIAL_FACTORS if partial else _SHORTLIST_FACTORS
    factor = next(factor for limit, factor in factors if gallery_size <= limit)
    return min(gallery_size, max(MIN_SHORTLIST, factor * k))
