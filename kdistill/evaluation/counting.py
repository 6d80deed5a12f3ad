"""Counts how many scores of a gallery block stand before a few chosen ones."""

import numpy as np

CHUNK = 8192
"""Scores of a query that are sorted together: they stay in a core's cache."""


def count_before(
    scores: np.ndarray, in_order: np.ndarray, start: int, values: np.ndarray, columns: np.ndarray
) -> np.ndarray:
    """Counts the scores of one chunk of the gallery that stand before each of P targets in the ranking.

    The rank of a target at column p with score s_p is #{g : s_g > s_p} + #{g < p : s_g = s_p}: ties go to the lower
    column, as a stable sort of everything by descending score would have it. Such counts add up over chunks.

    Args:
        scores: float32 [b] of columns start, start + 1, ...; minus infinity where a column takes no part.
        in_order: float32 [b], the same scores ascending.
        start: the chunk's first column.
        values: float32 [P], the targets' scores, finite; ascending is fastest.
        columns: int64 [P], the targets' columns, in this chunk or any other.

    Returns:
        int64 [P].
    """
    up_to = in_order.searchsorted(values, side="right")
    counts = len(in_order) - up_to
    # Equal scores are rare: only a target that meets its own value, at itself or at a tie, is looked at again.
    for target in np.flatnonzero(in_order[up_to - 1] == values):
        in_front = scores[: max(0, columns[target] - start)]
        counts[target] += np.count_nonzero(in_front == values[target])
    return counts
