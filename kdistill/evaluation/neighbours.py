"""The k nearest gallery rows of each query by partial selection over gallery blocks."""

import numpy as np

from kdistill.errors import ArgumentError
from kdistill.evaluation.blockwise.ranks import leave_out
from kdistill.evaluation.blockwise.similarity import Rows, Similarity, check_pair, map_blocks, plan

_Found = tuple[int, list[tuple[np.ndarray, np.ndarray]]]


def nearest_neighbours(
    queries: np.ndarray,
    gallery: Rows,
    k: int,
    *,
    exclude: np.ndarray | None = None,
    similarity: Similarity = "cosine",
    max_memory_mb: int = 512,
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the k best gallery rows of each query, best first, ties to the lower gallery index.

    Args:
        queries: [Q, D].
        gallery: [G, D], possibly memory-mapped.
        k: number of neighbours; cut to the number of rows that a query can have.
        exclude: int64 [Q], a gallery row that is left out for the query (itself), or -1.
        similarity: "cosine", or "dot" for rows that are known to have length 1.
        max_memory_mb: MiB that scores and blocks may take together (results come on top).

    Returns:
        (scores float32 [Q, k], indices int64 [Q, k]).

    Raises:
        ArgumentError: k below 1, or nothing is left to find.
        KdistillError: dimensions differ or an embedding is not finite.
    """
    check_pair(queries, gallery)
    k = min(k, gallery.shape[0] - (exclude is not None))
    if k < 1:
        raise ArgumentError("at least one neighbour must be asked for, in a gallery that holds one")
    best_scores = np.full((len(queries), k), -np.inf, np.float32)
    best_indices = np.full((len(queries), k), -1, np.int64)
    cut = plan(len(queries), gallery.shape[0], gallery.shape[1], max_memory_mb)
    for first in range(0, len(queries), cut.query_rows):
        part = slice(first, first + cut.query_rows)
        bars = best_scores[part, -1]

        def candidates(start: int, scores: np.ndarray, part: slice = part, bars: np.ndarray = bars) -> _Found:
            leave_out(scores, start, None if exclude is None else exclude[part])
            return start, [_best(row, bar, k) for row, bar in zip(scores, bars, strict=True)]

        for start, found in map_blocks(candidates, queries[part], gallery, cut, similarity):
            for query, (columns, scores) in enumerate(found, first):
                _merge(start + columns, scores, best_scores[query], best_indices[query])
    return best_scores, best_indices


def _best(row: np.ndarray, bar: np.float32, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns (columns ascending, scores) of a block's scores [b] that may be among the best k.

    Those are the scores above `bar`, the k-th best of some earlier blocks (more of them may be known by now, which
    only makes the result longer than need be), and, where these are many, not below the k-th of the block itself.
    """
    columns = np.flatnonzero(row > bar)
    scores = row[columns]
    if len(columns) > k:
        floor = np.partition(scores, len(scores) - k)[len(scores) - k]
        # All above the k-th value, and of its ties the first, so that no more than k leave the block.
        above, ties = np.flatnonzero(scores > floor), np.flatnonzero(scores == floor)
        kept = np.sort(np.concatenate([above, ties[: k - len(above)]]))
        columns, scores = columns[kept], scores[kept]
    return columns, scores


def _merge(columns: np.ndarray, scores: np.ndarray, best_scores: np.ndarray, best_indices: np.ndarray) -> None:
    """Merges one block's candidates into a query's best so far [k], in place.

    Blocks come in the order of the gallery, so that the stable sort leaves ties to the lower index.
    """
    if not len(columns):
        return
    all_scores = np.concatenate([best_scores, scores])
    order = np.argsort(-all_scores, kind="stable")[: len(best_scores)]
    best_indices[:] = np.concatenate([best_indices, columns])[order]
    best_scores[:] = all_scores[order]
