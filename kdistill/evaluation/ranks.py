"""Ranks of a few gallery rows for each query, by counting over gallery blocks instead of sorting."""

import itertools
from collections import deque

import numpy as np

from kdistill.evaluation.counting import CHUNK, count_before
from kdistill.evaluation.similarity import Plan, Rows, Similarity, map_blocks


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

    def count(start: int, scores: np.ndarray) -> np.ndarray:
        leave_out(scores, start, exclude)
        counts = np.zeros(len(rows), np.int64)
        for first in range(0, scores.shape[1], CHUNK):
            chunk = scores[:, first : first + CHUNK]
            # All queries in one call: sorting lets other threads run, the few lines for each query do not.
            in_order = np.sort(chunk, axis=1)
            for query, targets in zip(searching, targets_of, strict=True):
                counts[targets] += count_before(
                    chunk[query], in_order[query], start + first, values[targets], columns[targets]
                )
        return counts

    def collect_and_count(start: int, scores: np.ndarray) -> np.ndarray:
        collect(start, scores)
        return count(start, scores)

    searching, firsts = np.unique(rows, return_index=True)
    targets_of = [slice(*edges) for edges in itertools.pairwise([*firsts, len(rows)])]
    starts = cut.starts(gallery.shape[0])
    if len(starts) == 1:
        (ranks,) = map_blocks(collect_and_count, queries, gallery, cut, similarity)
        return ranks
    holding = sorted({starts[int(block)] for block in np.unique(columns // cut.block_rows)})
    deque(map_blocks(collect, queries, gallery, cut, similarity, holding), maxlen=0)
    ranks = np.zeros(len(rows), np.int64)
    for counts in map_blocks(count, queries, gallery, cut, similarity):
        ranks += counts
    return ranks


def leave_out(scores: np.ndarray, start: int, exclude: np.ndarray | None) -> None:
    """Sets the scores [Q, rows] of each query's excluded gallery row to minus infinity, in place."""
    if exclude is None:
        return
    inside = np.flatnonzero((exclude >= start) & (exclude < start + scores.shape[1]))
    scores[inside, exclude[inside] - start] = -np.inf
