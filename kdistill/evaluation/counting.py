"""Counts how many scores stand before a few chosen ones, chunk by chunk."""

import numpy as np

CHUNK = 32768
"""Scores that are looked at together: they stay in a core's cache, and the cost per score does not depend on how many
there are in all."""


def count_before(scores: np.ndarray, start: int, values: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Counts the scores of one gallery block that stand before each of P targets in the ranking.

    The rank of a target at column p with score s_p is #{g : s_g > s_p} + #{g < p : s_g = s_p}: ties go to the lower
    column, as a stable sort of everything by descending score would have it. Such counts add up over blocks. In a
    chunk they are found by binary search for all targets at once.

    Args:
        scores: float32 [b] of columns start, start + 1, ...; minus infinity where a column takes no part.
        start: the block's first column.
        values: float32 [P], the targets' scores, finite; ascending is fastest.
        columns: int64 [P], the targets' columns, in this block or any other.

    Returns:
        int64 [P].
    """
    counts = np.zeros(len(values), np.int64)
    for first in range(0, len(scores), CHUNK):
        part = scores[first : first + CHUNK]
        position = columns - (start + first)
        in_order = np.sort(part)
        up_to = np.searchsorted(in_order, values, side="right")
        counts += len(part) - up_to
        # Equal scores are rare: only a target that meets its own value, at itself or at a tie, is looked at again.
        for target in np.flatnonzero(in_order[np.maximum(up_to - 1, 0)] == values):
            in_front = part[: max(0, position[target])]
            counts[target] += np.count_nonzero(in_front == values[target])
    return counts
