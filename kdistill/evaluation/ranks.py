"""Ranks of a few gallery rows for each query, by counting over gallery blocks instead of sorting."""

from collections import deque

import numpy as np

from kdistill.evaluation.counting import RankCounter
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
    edges = np.searchsorted(rows, np.arange(len(queries) + 1))
    searching = [int(query) for query in np.flatnonzero(np.diff(edges))]
    values = np.empty(len(rows), np.float32)

    def collect(start: int, scores: np.ndarray) -> None:
        inside = np.flatnonzero((columns >= start) & (columns < start + scores.shape[1]))
        values[inside] = scores[rows[inside], columns[inside] - start]

    def make_counters() -> dict[int, RankCounter]:
        mine = {query: slice(edges[query], edges[query + 1]) for query in searching}
        return {query: RankCounter(values[part], columns[part]) for query, part in mine.items()}

    def count(start: int, scores: np.ndarray, counters: dict[int, RankCounter]) -> None:
        leave_out(scores, start, exclude)
        for query, counter in counters.items():
            counter.add(scores[query], start)

    def collect_and_count(start: int, scores: np.ndarray) -> dict[int, RankCounter]:
        collect(start, scores)
        counters = make_counters()
        count(start, scores, counters)
        return counters

    if not searching:
        return np.zeros(0, np.int64)
    if len(cut.starts(gallery.shape[0])) == 1:
        (counters,) = map_blocks(collect_and_count, queries, gallery, cut, similarity)
    else:
        holding = [int(block) * cut.block_rows for block in np.unique(columns // cut.block_rows)]
        deque(map_blocks(collect, queries, gallery, cut, similarity, holding), maxlen=0)
        counters = make_counters()
        deque(map_blocks(lambda start, scores: count(start, scores, counters), queries, gallery, cut, similarity), 0)
    return np.concatenate([counters[query].ranks() for query in searching])


def leave_out(scores: np.ndarray, start: int, exclude: np.ndarray | None) -> None:
    """Sets the scores [Q, rows] of each query's excluded gallery row to minus infinity, in place."""
    if exclude is None:
        return
    inside = np.flatnonzero((exclude >= start) & (exclude < start + scores.shape[1]))
    scores[inside, exclude[inside] - start] = -np.inf
