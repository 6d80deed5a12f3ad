"""The k nearest gallery rows of each query by partial selection over gallery blocks."""

import numpy as np

from kdistill.errors import ArgumentError
from kdistill.evaluation.ranks import leave_out
from kdistill.evaluation.similarity import Rows, Similarity, check_pair, plan, score_blocks


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
        left_out = None if exclude is None else exclude[part]
        for start, scores in score_blocks(queries[part], gallery, cut.block_rows, similarity):
            leave_out(scores, start, left_out)
            for row, query in zip(scores, range(first, first + len(scores)), strict=True):
                _merge(row, start, best_scores[query], best_indices[query])
    return best_scores, best_indices


def _merge(row: np.ndarray, start: int, best_scores: np.ndarray, best_indices: np.ndarray) -> None:
    """Merges one block's scores [b] of a query into its best so far [k], in place.

    Blocks come in the order of the gallery, so a newcomer must be strictly better than the k-th best: with an
    equal score the earlier row stays.
    """
    k = len(best_scores)
    bar = best_scores[-1]
    candidates = np.flatnonzero(row > bar)
    if len(candidates) > 4 * k:
        # Everything down to the k-th value and its ties; the stable sort below keeps the first of them.
        floor = np.partition(row, len(row) - k)[len(row) - k]
        candidates = candidates[row[candidates] >= floor]
    if not len(candidates):
        return
    scores = np.concatenate([best_scores, row[candidates]])
    indices = np.concatenate([best_indices, start + candidates])
    order = np.argsort(-scores, kind="stable")[:k]
    best_scores[:], best_indices[:] = scores[order], indices[order]
