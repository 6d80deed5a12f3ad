"""Learned whitening of embeddings from matching pairs; PCA whitening stands in `kdistill.teachers.whitening`.

Both give a `Whitening` whose `transform` centres, rotates, scales, cuts the dimension and normalises. Fit either on
another set than the one that is evaluated.
"""

import numpy as np

from kdistill.errors import ArgumentError, KdistillError
from kdistill.teachers.whitening import Whitening, best_shrinkage, fit_whitening

__all__ = ["Whitening", "fit_learned_whitening", "fit_whitening", "matching_pairs"]


def fit_learned_whitening(
    embeddings: np.ndarray, pairs: np.ndarray, *, dimension: int | None = None, shrinkage: float | None = None
) -> Whitening:
    """Whitens the differences of matching pairs, then rotates to the directions in which all vectors spread most.

    The supervised whitening of Mikolajczyk & Matas (ICCV 2007) in the form that Radenović et al. (ECCV 2016,
    arXiv 1604.02426, section 3.3) use for retrieval: with C_S the mean outer product of the differences of matching
    pairs, P = C_S^(-1/2) makes them isotropic; the eigenvectors of the vectors' own covariance after P, by falling
    eigenvalue, give the axes to keep. Our reading: all embeddings stand in for the non-matching pairs, whose
    differences spread like the vectors themselves.

    Args:
        embeddings: float [n, D].
        pairs: int [P, 2], rows that show the same thing.
        dimension: axes to keep; None for all.
        shrinkage: 0 to 1, moves C_S towards a multiple of the identity of the same trace; needed when there are fewer
            pairs than dimensions. None for that of `best_shrinkage`.

    Returns:
        a Whitening with projection [D, dimension].

    Raises:
        ArgumentError: a shrinkage outside 0..1 or more axes than D.
        KdistillError: no pair, or pairs that do not determine C_S (the message says what helps).
    """
    vectors = np.asarray(embeddings, np.float64)
    pairs = np.asarray(pairs)
    kept = vectors.shape[1] if dimension is None else dimension
    if shrinkage is not None and not 0 <= shrinkage <= 1:
        raise ArgumentError(f"the shrinkage of the whitening is {shrinkage}; it must lie in 0..1")
    if not 1 <= kept <= vectors.shape[1]:
        raise ArgumentError(f"whitening to {kept} of {vectors.shape[1]} dimensions was asked for")
    if pairs.ndim != 2 or pairs.shape[1] != 2 or not len(pairs):
        raise KdistillError("learned whitening needs matching pairs [P, 2], and none are given")
    differences = vectors[pairs[:, 0]] - vectors[pairs[:, 1]]
    within = differences.T @ differences / len(pairs)
    moved = best_shrinkage(differences) if shrinkage is None else shrinkage
    within = (1 - moved) * within + moved * np.eye(len(within)) * np.trace(within) / len(within)
    variances, axes = np.linalg.eigh(within)
    if variances[0] <= 1e-9 * variances[-1]:
        raise KdistillError(
            f"{len(pairs)} matching pairs do not determine a whitening in {vectors.shape[1]} dimensions; "
            "give more pairs, set a shrinkage, or reduce the dimension first"
        )
    whiten = axes / np.sqrt(variances) @ axes.T
    mean = vectors.mean(axis=0)
    _, spread = np.linalg.eigh(np.cov((vectors - mean) @ whiten, rowvar=False, bias=True).reshape(whiten.shape))
    projection = whiten @ spread[:, ::-1][:, :kept]
    return Whitening(mean.astype(np.float32), projection.astype(np.float32))


def matching_pairs(labels: np.ndarray, *, pairs_per_row: int = 4, seed: int = 0) -> np.ndarray:
    """Returns int64 [P, 2]: for each row, up to `pairs_per_row` random other rows with its label; no pair twice.

    Args:
        labels: int [n].
        pairs_per_row: partners drawn for each row.
        seed: of the draw.
    """
    random = np.random.default_rng(seed)
    labels = np.asarray(labels)
    pairs = set()
    for row, label in enumerate(labels):
        others = np.flatnonzero(labels == label)
        others = others[others != row]
        chosen = random.choice(others, min(pairs_per_row, len(others)), replace=False)
        pairs |= {(min(row, int(other)), max(row, int(other))) for other in chosen}
    return np.array(sorted(pairs), np.int64).reshape(-1, 2)
