"""How far a student orders the gallery as its teacher does; no labels are needed."""

from collections.abc import Sequence

import numpy as np

from kdistill.errors import KdistillError
from kdistill.evaluation.blockwise.similarity import Rows, Similarity, check_pair, unit_rows
from kdistill.evaluation.neighbours import nearest_neighbours

KENDALL_DEPTH = 100
"""Kendall's tau looks at this many of the teacher's first neighbours."""


def teacher_agreement(
    student: tuple[np.ndarray, Rows],
    teacher: tuple[np.ndarray, Rows],
    *,
    ks: Sequence[int] = (10,),
    exclude: np.ndarray | None = None,
    similarity: Similarity = "cosine",
    max_memory_mb: int = 512,
) -> dict[str, float]:
    """Compares the neighbours that two models give to the same queries in the same gallery.

    Args:
        student: (queries [Q, Ds], gallery [G, Ds]).
        teacher: (queries [Q, Dt], gallery [G, Dt]); dimensions may differ.
        ks: the k of overlap@k.
        exclude: int64 [Q], a gallery row left out for the query (itself), or -1.
        similarity: "cosine" or "dot", for both models.
        max_memory_mb: MiB that the comparison may take beside its inputs and the neighbours it keeps.

    Returns:
        `teacher_overlap_at_K` in [0, 1]: the share of the teacher's first K neighbours that are among the student's
        first K, whatever their order; `teacher_kendall_tau_100` in [-1, 1]: Kendall's tau-b between the two models'
        scores of the teacher's first 100 neighbours (fewer in a smaller gallery). Means over queries.

    Raises:
        KdistillError: the two models did not embed the same number of images.
    """
    check_pair(*student)
    check_pair(*teacher)
    for name, ours, theirs in zip(("queries", "gallery rows"), student, teacher, strict=True):
        if len(ours) != len(theirs):
            raise KdistillError(f"the student embedded {len(ours)} {name} and the teacher {len(theirs)}")
    options: dict = {"exclude": exclude, "similarity": similarity, "max_memory_mb": max_memory_mb}
    depth = max(*ks, KENDALL_DEPTH)
    teacher_scores, teacher_indices = nearest_neighbours(*teacher, depth, **options)
    _, student_indices = nearest_neighbours(*student, max(ks), **options)
    figures = {f"teacher_overlap_at_{k}": _overlap(teacher_indices[:, :k], student_indices[:, :k]) for k in ks}
    tau = _mean_tau(student, teacher_scores[:, :KENDALL_DEPTH], teacher_indices[:, :KENDALL_DEPTH], similarity)
    return figures | {f"teacher_kendall_tau_{KENDALL_DEPTH}": tau}


def _overlap(first: np.ndarray, second: np.ndarray) -> float:
    """Returns the mean share of equal members of two index tables [Q, k]."""
    shared = sum(len(np.intersect1d(one, other)) for one, other in zip(first, second, strict=True))
    return shared / first.size


def _mean_tau(
    student: tuple[np.ndarray, Rows], teacher_scores: np.ndarray, indices: np.ndarray, similarity: Similarity
) -> float:
    queries, gallery = student
    total = 0.0
    for query, (scores, rows) in enumerate(zip(teacher_scores, indices, strict=True)):
        pair = queries[query : query + 1], gallery[rows]
        one, others = (unit_rows(rows) for rows in pair) if similarity == "cosine" else pair
        total += kendall_tau(scores, np.asarray(others, np.float32) @ np.asarray(one[0], np.float32))
    return total / len(queries)


def kendall_tau(first: np.ndarray, second: np.ndarray) -> float:
    """Returns Kendall's tau-b of two score vectors [n]: agreeing less disagreeing pairs, corrected for ties.

    Two vectors of which one is constant (or n = 1) say nothing about each other: 0.
    """
    signs = [np.sign(scores[:, None] - scores[None, :]).astype(np.int8) for scores in (first, second)]
    pairs = np.sqrt(float(np.count_nonzero(signs[0])) * float(np.count_nonzero(signs[1])))
    return float(np.sum(signs[0] * signs[1], dtype=np.int64) / pairs) if pairs else 0.0
