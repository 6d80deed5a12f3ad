"""The revisited Oxford/Paris protocol (Radenović et al., CVPR 2018, arXiv 1803.11285), all levels in one pass."""

from collections.abc import Sequence

import numpy as np

from kdistill.data.layouts.revisited_truth import RevisitedTruth
from kdistill.errors import ArgumentError, KdistillError
from kdistill.evaluation import agreement, measures
from kdistill.evaluation.blockwise.ranks import ranks_of
from kdistill.evaluation.blockwise.similarity import Rows, Similarity, check_pair, plan
from kdistill.evaluation.scores import RetrievalScores

LEVELS = {
    "easy": (("easy",), ("junk", "hard")),
    "medium": (("easy", "hard"), ("junk",)),
    "hard": (("hard",), ("junk", "easy")),
}
"""For each level, which grades are positives and which leave the ranking."""


def evaluate_revisited(
    queries: np.ndarray,
    gallery: Rows,
    truth: RevisitedTruth,
    *,
    ks: Sequence[int] = (1, 5, 10),
    teacher: tuple[np.ndarray, Rows] | None = None,
    similarity: Similarity = "cosine",
    max_memory_mb: int = 512,
) -> RetrievalScores:
    """Scores a ranking of the gallery for each query at the levels easy, medium and hard.

    Ties go to the lower gallery index. Average precision is the trapezoid form and mP@k cuts k to the last positive's
    rank, as in the reference evaluation. Queries without positives at a level leave its means.

    Args:
        queries: [Q, D], embeddings of the cropped queries.
        gallery: [G, D], possibly memory-mapped, or `StackedRows` of several such arrays; rows that the ground truth
            does not name (distractors too) are irrelevant to every query.
        truth: ground truth of Q queries.
        ks: the k of mP@k, recall@k, NDCG@k and overlap@k.
        teacher: the teacher's embeddings of (queries [Q, Dt], gallery [G, Dt]) to measure agreement with, or None.
        similarity: "cosine", or "dot" for rows that are known to have length 1.
        max_memory_mb: MiB that the evaluation may take beside its inputs.

    Returns:
        scores whose `map` is `map_medium`; `map_LEVEL` and `mp_at_K_LEVEL` for every level that has a query;
        `recall_at_K`, `map_at_r`, `r_precision`, `ndcg_at_K` at the medium level; agreement, when asked for.

    Raises:
        KdistillError: shapes or indices do not fit, an embedding is not finite, or no query has a positive.
    """
    check_pair(queries, gallery)
    if len(truth) != len(queries):
        raise KdistillError(f"the ground truth has {len(truth)} queries, and {len(queries)} were embedded")
    if not ks or min(ks) < 1:
        raise ArgumentError(f"ks is {tuple(ks)}, expected at least one number, each 1 or more")
    truth.check_gallery(len(gallery))
    values: dict[str, list[float]] = {}
    for query, ranks in enumerate(_ranks(queries, gallery, truth, similarity, max_memory_mb)):
        for level in LEVELS:
            positions = level_ranks(truth, query, ranks, level)
            if len(positions):
                for name, value in _measure(positions, level, ks).items():
                    values.setdefault(name, []).append(value)
    if "map_medium" not in values:
        raise KdistillError("no query of the ground truth has a positive image, so there is nothing to evaluate")
    details = {name: float(np.mean(column)) for name, column in values.items()}
    if teacher is not None:
        details |= agreement.teacher_agreement(
            (queries, gallery), teacher, ks=ks, similarity=similarity, max_memory_mb=max_memory_mb
        )
    return RetrievalScores(details["map_medium"], len(values["map_medium"]), details)


def level_ranks(truth: RevisitedTruth, query: int, ranks: np.ndarray, level: str) -> np.ndarray:
    """Returns int64 [R]: the positives' 0-based ranks at a level, ascending, junk taken out of the ranking.

    Args:
        truth: the ground truth.
        query: which query.
        ranks: int64 [n], ranks in the whole gallery of `truth.labelled(query)`, in its order.
        level: "easy", "medium" or "hard".
    """
    ends = np.cumsum([len(truth.easy[query]), len(truth.hard[query])])
    by_grade = dict(zip(("easy", "hard", "junk"), np.split(ranks, ends), strict=True))
    positive_grades, junk_grades = LEVELS[level]
    positives = np.sort(np.concatenate([by_grade[grade] for grade in positive_grades]))
    junk = np.sort(np.concatenate([by_grade[grade] for grade in junk_grades]))
    return positives - np.searchsorted(junk, positives)


def _ranks(
    queries: np.ndarray, gallery: Rows, truth: RevisitedTruth, similarity: Similarity, max_memory_mb: int
) -> list[np.ndarray]:
    """Returns for each query the ranks of `truth.labelled(query)`."""
    cut = plan(len(queries), len(gallery), queries.shape[1], max_memory_mb)
    ranks: list[np.ndarray] = []
    for first in range(0, len(queries), cut.query_rows):
        labelled = [truth.labelled(query) for query in range(first, min(first + cut.query_rows, len(queries)))]
        counts = [len(indices) for indices in labelled]
        rows = np.repeat(np.arange(len(labelled)), counts)
        part = queries[first : first + cut.query_rows]
        found = ranks_of(part, gallery, rows, np.concatenate(labelled), cut, similarity=similarity)
        ranks += np.split(found, np.cumsum(counts)[:-1])
    return ranks


def _measure(ranks: np.ndarray, level: str, ks: Sequence[int]) -> dict[str, float]:
    figures = {f"map_{level}": measures.average_precision_trapezoid(ranks)}
    figures |= {f"mp_at_{k}_{level}": measures.precision_at(ranks, k) for k in ks}
    if level == "medium":
        figures |= {f"recall_at_{k}": measures.recall_at(ranks, k) for k in ks}
        figures |= {"map_at_r": measures.map_at_r(ranks), "r_precision": measures.r_precision(ranks)}
        figures |= {f"ndcg_at_{k}": measures.ndcg_at(ranks, k) for k in ks}
    return figures
