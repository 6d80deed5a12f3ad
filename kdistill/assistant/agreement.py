"""How well a network's features agree with answers that they did not learn from: whether an assistant is worth it."""

import numpy as np

from kdistill.assistant.heads import fit_vectors
from kdistill.evaluation.agreement import teacher_agreement

_FOLDS = 5
_NEIGHBOURS = 10
_STEPS = 100
_MOST = 2000
"""Answers that are looked at; more say nothing new about which of two networks is better."""


def cross_validated_overlap(features: np.ndarray, answers: np.ndarray, *, seed: int = 0) -> float:
    """Returns the overlap of nearest neighbours, 0 to 1, between the teacher and a head that never saw the query.

    Five times a head is fitted to four fifths of the answers (`fit_vectors`), and the images of the last fifth search
    among all others; the ten nearest are compared with the teacher's, or a quarter of the images where these are fewer.
    No question is asked and no answer is lost to training. Our reading.

    Args:
        features: float32 [n, C], L2-normalised pooled features of the images asked about.
        answers: float [n, Dt], row by row.
        seed: of the fifths.
    """
    order = np.random.default_rng(seed).permutation(len(features))[:_MOST]
    features, answers = features[order], answers[order]
    depth = max(1, min(_NEIGHBOURS, (len(order) - 1) // 4))
    total = 0.0
    for fold in np.array_split(np.arange(len(order)), min(_FOLDS, len(order))):
        known = np.setdiff1d(np.arange(len(order)), fold)
        vectors = fit_vectors(features[known], answers[known], steps=_STEPS).embed(features)
        found = teacher_agreement(
            (vectors[fold], vectors), (answers[fold], answers), ks=(depth,), exclude=fold.astype(np.int64)
        )
        total += len(fold) * found[f"teacher_overlap_at_{depth}"]
    return total / len(order)
