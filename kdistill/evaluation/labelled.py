"""Evaluation with class labels: a gallery row is a positive of a query when their labels are equal.

Average precision is the plain form here (`measures.average_precision`); the revisited protocol, which uses the
trapezoid form, stands in `revisited.py`.
"""

from collections.abc import Sequence

import numpy as np

from kdistill.errors import ArgumentError, KdistillError
from kdistill.evaluation import agreement, measures
from kdistill.evaluation.blockwise.ranks import ranks_of
from kdistill.evaluation.blockwise.similarity import Plan, Rows, Similarity, check_pair, plan
from kdistill.evaluation.scores import RetrievalScores


def evaluate_leave_one_out(
    embeddings: np.ndarray,
    labels: np.ndarray,
    *,
    queries: np.ndarray | None = None,
    searching: np.ndarray | None = None,
    ks: Sequence[int] = (1, 5, 10),
    teacher: np.ndarray | None = None,
    similarity: Similarity = "cosine",
    max_memory_mb: int = 512,
) -> RetrievalScores:
    """Takes each row in turn as the query and all other rows as its gallery.

    Args:
        embeddings: [n, D].
        labels: int [n].
        queries: [n, D], what the same images search by where it is not their row in the gallery; None where it is.
        searching: int64 [q], the rows that are queries; None for all. The gallery is all rows either way.
        ks: the k of recall@k, NDCG@k and (with a teacher) overlap@k.
        teacher: [n, Dt], the teacher's embeddings of the same images, to measure agreement with; or None.
        similarity: "cosine", or "dot" for rows that are known to have length 1.
        max_memory_mb: MiB that the evaluation may take beside its inputs.

    Returns:
        scores with `map`, `recall_at_K`, `map_at_r`, `r_precision`, `ndcg_at_K` and, with a teacher,
        `teacher_overlap_at_K` and `teacher_kendall_tau_100`. Rows alone in their class are no queries (they stay
        in the gallery), except for agreement, which needs no labels.

    Raises:
        KdistillError: shapes do not fit, an embedding is not finite, or no row has a positive.
    """
    vectors = embeddings if queries is None else queries
    if searching is None:
        itself = np.arange(len(embeddings), dtype=np.int64)
        return _evaluate(vectors, embeddings, labels, labels, itself, ks, teacher, teacher, similarity, max_memory_mb)
    itself = np.asarray(searching, np.int64)
    teacher_queries = None if teacher is None else teacher[itself]
    return _evaluate(
        vectors[itself],
        embeddings,
        np.asarray(labels)[itself],
        labels,
        itself,
        ks,
        teacher_queries,
        teacher,
        similarity,
        max_memory_mb,
    )


def evaluate_query_gallery(
    queries: np.ndarray,
    gallery: Rows,
    query_labels: np.ndarray,
    gallery_labels: np.ndarray,
    *,
    ks: Sequence[int] = (1, 5, 10),
    teacher: tuple[np.ndarray, Rows] | None = None,
    similarity: Similarity = "cosine",
    max_memory_mb: int = 512,
) -> RetrievalScores:
    """Searches Q queries in a gallery of G rows that does not contain them.

    Args:
        queries: [Q, D].
        gallery: [G, D], possibly memory-mapped.
        query_labels: int [Q].
        gallery_labels: int [G].
        ks: as in `evaluate_leave_one_out`, like all that follows.
        teacher: the teacher's embeddings of (queries [Q, Dt], gallery [G, Dt]), or None.
        similarity: "cosine" or "dot".
        max_memory_mb: MiB that the evaluation may take beside its inputs.

    Returns:
        the scores that `evaluate_leave_one_out` gives.

    Raises:
        KdistillError: shapes do not fit, an embedding is not finite, or no query has a positive.
    """
    teacher_queries, teacher_gallery = teacher if teacher is not None else (None, None)
    return _evaluate(
        queries,
        gallery,
        query_labels,
        gallery_labels,
        None,
        ks,
        teacher_queries,
        teacher_gallery,
        similarity,
        max_memory_mb,
    )


def _evaluate(
    queries: np.ndarray,
    gallery: Rows,
    query_labels: np.ndarray,
    gallery_labels: np.ndarray,
    exclude: np.ndarray | None,
    ks: Sequence[int],
    teacher_queries: np.ndarray | None,
    teacher_gallery: Rows | None,
    similarity: Similarity,
    max_memory_mb: int,
) -> RetrievalScores:
    check_pair(queries, gallery)
    for name, rows, labels in (("query", queries, query_labels), ("gallery", gallery, gallery_labels)):
        if len(labels) != len(rows):
            raise KdistillError(f"{len(rows)} {name} embeddings were given with {len(labels)} labels")
    if not ks or min(ks) < 1:
        raise ArgumentError(f"ks is {tuple(ks)}, expected at least one number, each 1 or more")
    sums: dict[str, float] = {}
    counted = 0
    cut = plan(len(queries), len(gallery), queries.shape[1], max_memory_mb)
    positives = _Positives(np.asarray(query_labels), np.asarray(gallery_labels), exclude)
    for first, stop in _pieces(positives, cut, max_memory_mb):
        rows, columns = positives.between(first, stop)
        left_out = None if exclude is None else exclude[first:stop]
        ranks = ranks_of(queries[first:stop], gallery, rows, columns, cut, exclude=left_out, similarity=similarity)
        edges = np.searchsorted(rows, np.arange(stop - first + 1))
        for query in np.flatnonzero(np.diff(edges)):
            counted += 1
            for name, value in _measure(np.sort(ranks[edges[query] : edges[query + 1]]), ks).items():
                sums[name] = sums.get(name, 0.0) + value
    if not counted:
        raise KdistillError("no query shares its label with another image, so there is nothing to evaluate")
    details = {name: value / counted for name, value in sums.items()}
    primary = details.pop("map")
    if teacher_queries is not None and teacher_gallery is not None:
        details |= agreement.teacher_agreement(
            (queries, gallery),
            (teacher_queries, teacher_gallery),
            ks=ks,
            exclude=exclude,
            similarity=similarity,
            max_memory_mb=max_memory_mb,
        )
    return RetrievalScores(primary, counted, details)


def _measure(ranks: np.ndarray, ks: Sequence[int]) -> dict[str, float]:
    return {
        "map": measures.average_precision(ranks),
        **{f"recall_at_{k}": measures.recall_at(ranks, k) for k in ks},
        "map_at_r": measures.map_at_r(ranks),
        "r_precision": measures.r_precision(ranks),
        **{f"ndcg_at_{k}": measures.ndcg_at(ranks, k) for k in ks},
    }


class _Positives:
    """Gallery rows with each query's label, looked up from one sorted list of the gallery's labels."""

    def __init__(self, query_labels: np.ndarray, gallery_labels: np.ndarray, exclude: np.ndarray | None) -> None:
        self._order = np.argsort(gallery_labels, kind="stable")
        in_order = gallery_labels[self._order]
        self._first = np.searchsorted(in_order, query_labels, side="left")
        self.counts = np.searchsorted(in_order, query_labels, side="right") - self._first
        self._exclude = exclude

    def between(self, first: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns (rows int64 [T] counted from `first`, columns int64 [T]) of queries [first, stop)."""
        counts = self.counts[first:stop]
        rows = np.repeat(np.arange(stop - first), counts)
        within = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
        columns = self._order[np.repeat(self._first[first:stop], counts) + within]
        if self._exclude is not None:
            other = columns != self._exclude[first:stop][rows]
            rows, columns = rows[other], columns[other]
        return rows, columns


def _pieces(positives: _Positives, cut: Plan, max_memory_mb: int) -> list[tuple[int, int]]:
    """Returns query ranges of at most `cut.query_rows`, shorter where classes are so large that pairs would not fit."""
    # Eight arrays of eight bytes for each pair of query and positive, within a third of the budget.
    most_pairs = max_memory_mb * 2**20 // (3 * 64)
    ranges, first, pairs = [], 0, 0
    for query, count in enumerate(positives.counts):
        if query > first and (query - first == cut.query_rows or pairs + count > most_pairs):
            ranges.append((first, query))
            first, pairs = query, 0
        pairs += count
    return [*ranges, (first, len(positives.counts))]
