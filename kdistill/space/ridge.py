"""A linear map from one space to another, fitted to pairs; how strongly it is held back the pairs say themselves."""

import numpy as np

from kdistill.errors import KdistillError

STRENGTHS = tuple(10.0 ** (power / 2) for power in range(-10, 5))
"""Strengths that are tried, as multiples of the mean squared singular value of the features."""


def fit_ridge(features: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Returns float32 [C, D], the map W with the least |X W - T|² + λ |W|².

    λ is that of STRENGTHS with the highest mean cosine between what each pair's map without it gives and its target:
    leave-one-out in closed form, from one decomposition (Allen's PRESS, 1974; Golub, Heath & Wahba, 1979).

    Args:
        features: float [n, C], rows of unit length.
        targets: float [n, D], rows of unit length.

    Raises:
        KdistillError: fewer than two pairs, or not one target a row.
    """
    if len(features) != len(targets) or len(features) < 2:
        raise KdistillError(f"a map is fitted to two pairs or more; {len(features)} and {len(targets)} rows were given")
    x, t = np.asarray(features, np.float64), np.asarray(targets, np.float64)
    left, values, right = np.linalg.svd(x, full_matrices=False)
    rotated, squared = left.T @ t, values**2
    scale = squared.mean()
    best, chosen = -np.inf, STRENGTHS[-1] * scale
    for strength in STRENGTHS:
        kept = squared / (squared + strength * scale)
        fitted = (left * kept) @ rotated
        leverage = np.minimum((left**2) @ kept, 1 - 1e-9)[:, None]
        without = (fitted - leverage * t) / (1 - leverage)
        lengths = np.linalg.norm(without, axis=1) * np.linalg.norm(t, axis=1)
        cosine = float(np.mean(np.sum(without * t, axis=1) / np.maximum(lengths, 1e-12)))
        if cosine > best:
            best, chosen = cosine, strength * scale
    return np.asarray(right.T @ ((values / (squared + chosen))[:, None] * rotated), np.float32)
