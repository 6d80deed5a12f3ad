"""Ranks of a few gallery rows for each query, by counting instead of sorting.

The rank of row p for a query is the number of gallery rows that stand before it:

    rank(p) = #{g : s_g > s_p} + #{g < p : s_g = s_p}

so that ties go to the lower gallery index, exactly as a stable sort by descending score would have it. Counting is
linear in the gallery, needs one block of scores at a time, and adds up over blocks.
"""

import numpy as np

from kdistill.evaluation.similarity import Plan, Rows, Similarity, score_blocks

BUCKETS = 4096
CHUNK = 32768
"""Scores that are counted at a time: they and their bucket numbers fit in a core's cache."""


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
    if cut.keep_scores:
        blocks = [(0, _all_scores(queries, gallery, cut, exclude, similarity))]
        values = blocks[0][1][rows, columns]
    else:
        values = np.empty(len(rows), np.float32)
        for start, scores in score_blocks(queries, gallery, cut.block_rows, similarity):
            inside = (columns >= start) & (columns < start + scores.shape[1])
            values[inside] = scores[rows[inside], columns[inside] - start]
        blocks = score_blocks(queries, gallery, cut.block_rows, similarity)  # type: ignore[assignment]
    ranks = np.zeros(len(rows), np.int64)
    for start, scores in blocks:
        if not cut.keep_scores:
            leave_out(scores, start, exclude)
        for query in np.flatnonzero(np.diff(edges)):
            mine = slice(edges[query], edges[query + 1])
            ranks[mine] += count_before(scores[query], start, values[mine], columns[mine])
    return ranks


def leave_out(scores: np.ndarray, start: int, exclude: np.ndarray | None) -> None:
    """Sets the scores [Q, rows] of each query's excluded gallery row to minus infinity, in place."""
    if exclude is None:
        return
    inside = np.flatnonzero((exclude >= start) & (exclude < start + scores.shape[1]))
    scores[inside, exclude[inside] - start] = -np.inf


def count_before(scores: np.ndarray, start: int, values: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Counts the scores of one block that stand before each of P targets in the ranking.

    Scores are put into buckets of equal width by a function that never decreases (a product and a sum, each rounded,
    then cut to an integer), so a score in a higher bucket than a target's is surely larger, and only those in
    the same bucket are compared one by one.

    Args:
        scores: float32 [b], the block's scores; minus infinity where a row does not take part.
        start: gallery index of the block's first row.
        values: float32 [P], scores of the targets, finite.
        columns: int64 [P], gallery indices of the targets, which may lie in other blocks.

    Returns:
        int64 [P].
    """
    levels, level_of_target = np.unique(values, return_inverse=True)
    low, high = float(levels[0]), float(levels[-1])
    # The width has a floor, so that a product with the scale cannot overflow when all targets score alike.
    scale = np.float32(BUCKETS / max(high - low, 1e-6 * max(abs(low), abs(high)), 1e-20))
    shift = np.float32(1 - low * float(scale))

    def bucket_of(part: np.ndarray) -> np.ndarray:
        place = part * scale
        place += shift
        np.clip(place, 0, BUCKETS + 1, out=place)
        return place.astype(np.intp)

    level_buckets = bucket_of(levels)
    levels_below = np.searchsorted(level_buckets, np.arange(BUCKETS + 2))
    shared = np.zeros(BUCKETS + 2, bool)
    shared[level_buckets] = True

    # above[i]: scores with exactly i levels strictly below them.
    above = np.zeros(len(levels) + 1, np.int64)
    histogram = np.zeros(BUCKETS + 2, np.int64)
    ties: list[np.ndarray] = []
    for first in range(0, len(scores), CHUNK):
        part = scores[first : first + CHUNK]
        buckets = bucket_of(part)
        histogram += np.bincount(buckets, minlength=BUCKETS + 2)
        close = np.flatnonzero(shared[buckets])
        below = np.searchsorted(levels, part[close])
        above += np.bincount(below, minlength=len(levels) + 1)
        equal = np.flatnonzero(levels[np.minimum(below, len(levels) - 1)] == part[close])
        # One integer for (level, gallery index), so that ties of all levels sort and search together.
        ties.append((below[equal].astype(np.int64) << 40) + start + first + close[equal])
    histogram[level_buckets] = 0
    np.add.at(above, levels_below, histogram)
    larger = above[::-1].cumsum()[::-1][1:]

    tied = np.sort(np.concatenate(ties))
    group = level_of_target.astype(np.int64) << 40
    return larger[level_of_target] + np.searchsorted(tied, group + columns) - np.searchsorted(tied, group)


def _all_scores(
    queries: np.ndarray, gallery: Rows, cut: Plan, exclude: np.ndarray | None, similarity: Similarity
) -> np.ndarray:
    kept = np.empty((len(queries), gallery.shape[0]), np.float32)
    for start, scores in score_blocks(queries, gallery, cut.block_rows, similarity):
        kept[:, start : start + scores.shape[1]] = scores
    leave_out(kept, 0, exclude)
    return kept
