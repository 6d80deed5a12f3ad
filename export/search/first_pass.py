"""Large galleries are scanned by their leading coordinates only, and a longer shortlist is ranked by all of them.

Beyond a processor's caches a scan takes as long as its bytes take to be read. Embeddings lie near a subspace: turned so
that the coordinates of most energy come first, a row's part of the score sits in fewer of them. A rotation changes no
inner product, so the ranking by all coordinates stays what it was.

Two details decide how many neighbours the shortlist holds (see benchmarks/results/NOTES.md). The directions are those
of the rows themselves, not of their differences from the mean row: the mean row is a large part of every query, and
what it adds must not be cut. And the leading coordinates are mixed by a random rotation, which evens out their sizes,
as one scale a row wants it.
"""

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np

from export.search.layout import shortlist

MIN_CODES = 2**23
"""One byte each: smaller galleries stay in the caches that a thread gets on the processors that we measured."""
MIN_RECALL = 0.99
"""Share of the nearest rows that the shortlist must hold, over rows of the gallery taken as queries."""
_SHARES = (3 / 8, 1 / 2)
"""Leading parts that are tried, the shortest first."""
_QUERIES, _NEAREST = 64, 10

Pieces = Callable[[], Iterator[np.ndarray]]
"""Starts one walk through all rows, float32 [n, D] a step."""


@dataclasses.dataclass(frozen=True, eq=False)
class FirstPass:
    """What is scanned.

    Attributes:
        rotation: float32 [D, D], orthogonal; rows and queries are multiplied by it from the right.
        dimension: leading coordinates of the product that the scan reads.
    """

    rotation: np.ndarray
    dimension: int


def choose_first_pass(pieces: Pieces, rows: int, second_moment: np.ndarray) -> FirstPass | None:
    """Returns the shortest first pass that loses next to nothing on this gallery; None where all must be read.

    Args:
        pieces: the gallery.
        rows: G.
        second_moment: float64 [D, D], the mean of rowᵀ row.
    """
    dimension = len(second_moment)
    if rows * dimension < MIN_CODES:
        return None
    directions = np.linalg.eigh(second_moment)[1][:, ::-1]
    queries = _sample(pieces, rows)
    nearest = _nearest(pieces, queries)
    for share in _SHARES:
        count = int(share * dimension)
        leading = directions[:, :count].astype(np.float32)
        if _recall(pieces, queries, nearest, leading, shortlist(rows, _NEAREST, partial=True)) >= MIN_RECALL:
            mixed = np.linalg.qr(np.random.default_rng(0).standard_normal((count, count)))[0]
            rotation = np.hstack([directions[:, :count] @ mixed, directions[:, count:]])
            return FirstPass(np.ascontiguousarray(rotation, np.float32), count)
    return None


def _sample(pieces: Pieces, rows: int) -> np.ndarray:
    """Returns rows float32 [64, D], spread evenly over the gallery."""
    wanted = np.linspace(0, rows - 1, _QUERIES).astype(int)
    found, start = [], 0
    for piece in pieces():
        here = wanted[(wanted >= start) & (wanted < start + len(piece))]
        found.append(piece[here - start])
        start += len(piece)
    return np.concatenate(found)


def _nearest(pieces: Pieces, queries: np.ndarray) -> np.ndarray:
    """Returns float32 [Q, 10, D], the rows of the largest scores, the query itself among them."""
    lines = np.arange(len(queries))[:, None]
    best = np.empty((len(queries), 0, queries.shape[1]), np.float32)
    for piece in pieces():
        scores = queries @ piece.T
        top = np.argpartition(scores, -min(_NEAREST, len(piece)), axis=1)[:, -_NEAREST:]
        best = np.concatenate([best, piece[top]], axis=1)
        order = np.argsort(-np.einsum("qnd,qd->qn", best, queries), axis=1)[:, :_NEAREST]
        best = best[lines, order]
    return best


def _recall(pieces: Pieces, queries: np.ndarray, nearest: np.ndarray, leading: np.ndarray, count: int) -> float:
    """Returns the share of the nearest rows that are among the `count` best by their leading coordinates."""
    short = queries @ leading
    scores = np.einsum("qnc,qc->qn", nearest @ leading, short)
    better = np.zeros(scores.shape, np.int64)
    for piece in pieces():
        found = np.sort((piece @ leading) @ short.T, axis=0)
        for query in range(len(queries)):
            better[query] += len(found) - np.searchsorted(found[:, query], scores[query], side="right")
    return float((better < count).mean())
