"""Galleries of any size, grown from the embeddings of a few real images.

Each row lies between an embedding and one of its ten nearest, plus noise of norm 0.15, normalised.
"""

from pathlib import Path

import numpy as np

from kdistill.errors import ArgumentError, KdistillError


def grow(base: np.ndarray, rows: int, rng: np.random.Generator) -> np.ndarray:
    """Returns float32 [rows, D], new points among the embeddings `base` [n, D] (see the module's text)."""
    neighbours = np.argsort(-(base @ base.T), axis=1)[:, 1:11]
    gallery = np.empty((rows, base.shape[1]), np.float32)
    for start in range(0, rows, 50_000):
        count = min(50_000, rows - start)
        here = rng.integers(0, len(base), count)
        there = neighbours[here, rng.integers(0, neighbours.shape[1], count)]
        share = 0.5 * rng.random((count, 1), np.float32)
        points = (1 - share) * base[here] + share * base[there]
        points += rng.standard_normal(points.shape, np.float32) * np.float32(0.15 / base.shape[1] ** 0.5)
        gallery[start : start + count] = points / np.linalg.norm(points, axis=1, keepdims=True)
    return gallery


def clusters(rng: np.random.Generator, dimension: int = 128) -> np.ndarray:
    """Returns float32 [4000, dimension]: 200 clusters, where there are no real embeddings."""
    points = rng.standard_normal((200, dimension), np.float32)[rng.integers(0, 200, 4000)]
    points += 0.6 * rng.standard_normal((4000, dimension), np.float32)
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def read_embeddings(path: Path, *, at_least: int) -> np.ndarray:
    """Returns float32 [n, D] from a run's gallery.npz or an .npy file.

    Raises:
        KdistillError: the file is missing or holds something else, or fewer than `at_least` rows.
    """
    try:
        content = np.load(path, allow_pickle=False)
        embeddings = np.asarray(content["embeddings"] if path.suffix == ".npz" else content, np.float32)
    except (OSError, ValueError, KeyError) as error:
        raise KdistillError(f"{path} holds no embeddings: {error}") from error
    if embeddings.ndim != 2 or len(embeddings) < at_least:
        raise ArgumentError(f"{path} has the shape {list(embeddings.shape)}; at least {at_least} rows are needed")
    return embeddings
