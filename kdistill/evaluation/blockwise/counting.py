"""Counts how many scores of a gallery block stand before a few chosen ones."""

import itertools

import numpy as np

CHUNK = 8192
"""Scores of a query that are sorted together: they stay in a core's cache."""


class Targets:
    """T gallery columns whose ranks are wanted, each for one query, with their scores.

    Attributes:
        order: int64 [T], where each of the targets below stood in what was given.
        rows: int64 [T], the query of each, ascending.
        columns: int64 [T], gallery columns.
        values: float32 [T], scores, ascending within a query, which searches fastest.
    """

    def __init__(self, rows: np.ndarray, columns: np.ndarray, values: np.ndarray) -> None:
        """Takes the query int64 [T], gallery column int64 [T] and finite score float32 [T] of each target."""
        self.order = np.lexsort((values, rows))
        self.rows, self.columns, self.values = rows[self.order], columns[self.order], values[self.order]
        queries, firsts = np.unique(self.rows, return_index=True)
        edges = itertools.pairwise([*firsts, len(rows)])
        self.by_query = [(int(query), self.values[slice(*edge)]) for query, edge in zip(queries, edges, strict=True)]


def count_before(scores: np.ndarray, start: int, targets: Targets) -> np.ndarray:
    """Counts the scores of a block of the gallery that stand before each of T targets in its query's ranking.

    The rank of a target at column p with score s_p is #{g : s_g > s_p} + #{g < p : s_g = s_p}: ties go to the lower
    column, as a stable sort of everything by descending score would have it. Such counts add up over blocks.

    Args:
        scores: float32 [Q, b] of columns start, start + 1, ...; minus infinity where a column takes no part.
        start: the block's first column.
        targets: T targets, in this block or any other.

    Returns:
        int64 [T], in the order of `targets`.
    """
    counts = np.zeros(len(targets.rows), np.int64)
    if not len(counts):
        return counts
    for first in range(0, scores.shape[1], CHUNK):
        counts += _count_in_chunk(scores[:, first : first + CHUNK], start + first, targets)
    return counts


def _count_in_chunk(chunk: np.ndarray, start: int, targets: Targets) -> np.ndarray:
    # All queries in each call but one: numpy lets other threads run while it sorts, and not between two calls.
    in_order = np.sort(chunk, axis=1)
    up_to = np.concatenate([in_order[query].searchsorted(values, "right") for query, values in targets.by_query])
    counts = chunk.shape[1] - up_to
    # Equal scores are rare: only where a target meets its own value, at itself or at a tie, is looked at again.
    met = np.flatnonzero(in_order[targets.rows, up_to - 1] == targets.values)
    rows, columns, values = targets.rows[met], targets.columns[met] - start, targets.values[met]
    single = (up_to[met] < 2) | (in_order[rows, up_to[met] - 2] != values)
    itself = single & (columns >= 0) & (columns < chunk.shape[1])
    for index in np.flatnonzero(~itself):
        in_front = chunk[rows[index], : max(0, columns[index])]
        counts[met[index]] += np.count_nonzero(in_front == values[index])
    return counts
