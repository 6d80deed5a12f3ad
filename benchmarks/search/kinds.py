"""Five kinds of galleries, each with queries that are not in it: on these the retriever's recall has to hold.

| kind | gallery | queries |
|---|---|---|
| `students` | grown from a student's embeddings (`grown_gallery.py`) | embeddings that it was not grown from |
| `clusters` | grown from 200 clusters of random points | points of the clusters that it was not grown from |
| `uniform` | random directions | random directions |
| `low_rank` | directions of RANK dimensions with falling variances, and a little noise | the same |
| `near_ties` | groups of SIBLINGS rows that differ by less than an int8 code tells, in weak directions | the same |

Without embeddings of a real student `students` grows from made-up ones: classes around a common mean, photos around
them, variances that fall as those of trained networks do.
"""

import numpy as np

from benchmarks.search.grown_gallery import clusters, grow

KINDS = ("students", "clusters", "uniform", "low_rank", "near_ties")
HELD_OUT = 200
"""Queries of each gallery."""
RANK, SIBLINGS = 32, 1000
_CHUNK = 50_000


def make(
    kind: str, rows: int, seed: int, *, dimension: int = 128, embeddings: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Returns a gallery float32 [rows, D] and queries float32 [HELD_OUT, D] from outside it, all of norm 1.

    Args:
        kind: of KINDS.
        rows: G.
        seed: of everything that is drawn, the split into queries and the rest among it.
        dimension: D, where no embeddings are given.
        embeddings: float32 [n, D] of a real student, for `students`.
    """
    rng = np.random.default_rng([seed, KINDS.index(kind), rows])
    if kind in ("students", "clusters"):
        if kind == "clusters":
            base = clusters(rng, dimension)
        else:
            base = made_up_embeddings(rng, dimension) if embeddings is None else rng.permutation(embeddings)
        return grow(base[HELD_OUT:], rows, rng), base[:HELD_OUT]
    if kind == "uniform":
        return _drawn(rows, rng, lambda count: rng.standard_normal((count, dimension), np.float32))
    if kind == "low_rank":
        axes = np.linalg.qr(rng.standard_normal((dimension, RANK)))[0].T.astype(np.float32)
        axes *= (np.arange(1, RANK + 1, dtype=np.float32) ** -0.5)[:, None]

        def low_rank(count: int) -> np.ndarray:
            points = rng.standard_normal((count, RANK), np.float32) @ axes
            return points + np.float32(0.02) * rng.standard_normal(points.shape, np.float32)

        return _drawn(rows, rng, low_rank)
    half = dimension // 2
    axes = np.linalg.qr(rng.standard_normal((dimension, dimension)))[0].astype(np.float32)
    centres = rng.standard_normal((max(2, rows // SIBLINGS), half), np.float32)
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)

    def near_ties(count: int) -> np.ndarray:
        offsets = rng.standard_normal((count, dimension - half), np.float32) * np.float32(0.1 / half**0.5)
        return np.hstack([centres[rng.integers(0, len(centres), count)], offsets]) @ axes

    return _drawn(rows, rng, near_ties)


def made_up_embeddings(rng: np.random.Generator, dimension: int = 128, count: int = 4000) -> np.ndarray:
    """Returns float32 [count, dimension], of norm 1, in 80 classes: what stands for a student without a run."""
    spread = np.arange(1, dimension + 1, dtype=np.float32) ** -0.5
    axes = np.linalg.qr(rng.standard_normal((dimension, dimension)))[0].astype(np.float32)
    classes = rng.standard_normal((80, dimension), np.float32) * spread
    points = classes[rng.integers(0, 80, count)] + 0.7 * rng.standard_normal((count, dimension), np.float32) * spread
    points += rng.standard_normal(dimension, np.float32) * np.float32(np.linalg.norm(spread) / dimension**0.5)
    points = points @ axes
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def _drawn(rows: int, rng: np.random.Generator, draw: object) -> tuple[np.ndarray, np.ndarray]:
    """Returns rows and queries of one distribution, drawn in pieces and normalised."""
    parts = [_unit(draw(min(_CHUNK, rows - start))) for start in range(0, rows, _CHUNK)]  # type: ignore[operator]
    return np.concatenate(parts), _unit(draw(HELD_OUT))  # type: ignore[operator]


def _unit(points: np.ndarray) -> np.ndarray:
    return points / np.linalg.norm(points, axis=1, keepdims=True)
