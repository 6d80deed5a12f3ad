"""Ranks of a few gallery rows for each query, by counting over gallery blocks instead of sorting."""

from collections import deque

import numpy as np

from kdistill.evaluation.blockwise.counting import Targets, count_before
from kdistill.evaluation.blockwise.similarity import Plan, Rows, Similarity, map_blocks


def ranks_of(
    queries: np.ndarray,
    gallery: Rows,
    rows: np.ndarray,
    columns: np.ndarray,
    cut: Plan,
    *,
    exclude: np.ndarray | None = None,
    similarity: Similarity = "cosine",
) -> np.ndarray:
    """Returns int64 [T]: the 0-based rank of gallery row `columns[i]` for query `rows[i]`.

    Ties go to the lower gallery index. The scores of the targets come first, from the blocks that hold targets; then
    all blocks are counted. In a gallery of one block both happen at once.

    Args:
        queries: [Q, D], at most `cut.query_rows` of them.
        gallery: [G, D].
        rows: int64 [T], ascending.
        columns: int64 [T].
        cut: pieces, see `similarity.plan`.
        exclude: int64 [Q], a gallery row that is not part of the query's ranking (itself), or -1.
        similarity: "cosine" or "dot".
    """
    values = np.empty(len(rows), np.float32)

    def collect(start: int, scores: np.ndarray) -> None:
        inside = np.flatnonzero((columns >= start) & (columns < start + scores.shape[1]))
        values[inside] = scores[rows[inside], columns[inside] - start]

    def count(start: int, scores: np.ndarray, targets: Targets) -> np.ndarray:
        leave_out(scores, start, exclude)
        return count_before(scores, start, targets)

    starts = cut.starts(gallery.shape[0])
    ranks = np.zeros(len(rows), np.int64)
    if len(starts) == 1:
        # One block: the scores that hold the targets are kept and counted.
        (scores,) = map_blocks(lambda _, scores: scores, queries, gallery, cut, similarity)
        collect(0, scores)
        targets = Targets(rows, columns, values)
        ranks[targets.order] = count(0, scores, targets)
        return ranks
    holding = sorted({starts[int(block)] for block in np.unique(columns // cut.block_rows)})
    deque(map_blocks(collect, queries, gallery, cut, similarity, holding), maxlen=0)
    targets = Targets(rows, columns, values)
    for counts in map_blocks(lambda start, scores: count(start, scores, targets), queries, gallery, cut, similarity):
        ranks[targets.order] += counts
    return ranks


def leave_out(scores: np.ndarray, start: int, exclude: np.ndarray | None) -> None:
    """Sets the scores [Q, rows] of each query's excluded gallery row to minus infinity, in place."""
    if exclude is None:
        return
    inside = np.flatnonzero((exclude >= start) & (exclude < start + scores.shape[1]))
    scores[inside, exclude[inside] - start] = -np.inf
