"""Queries that are not rows of the gallery, by which the build judges what a search finds, and their true neighbours.

A row as its own query is its own nearest neighbour, and what it finds promises too much: real queries lie farther from
the rows than rows lie from each other. Three kinds stand for them, and given ones, where there are any:

- `held_out`: rows, each hidden from its own search.
- `perturbed`: points between a row and one of its near neighbours, moved further in the directions in which the gallery
  varies, by up to the distance of the tenth neighbour.
- `unseen`: rows, each hidden with its √G / 3 nearest, as a photo of something of which the gallery has none like it.
- `given`: embeddings of real queries. At least MIN_GIVEN of them take the place of `unseen`, which guesses at them;
  fewer count as further `held_out` ones.
"""

import dataclasses
import math
from collections.abc import Iterator

import numpy as np

PER_KIND = 128
MIN_GIVEN = 100
_NEAR = 10
_CHUNK = 8192
_SCORES = 2**20  # of all queries that are looked at together: 28 bytes each at first


@dataclasses.dataclass(frozen=True, eq=False)
class OutsideQueries:
    """Queries of several kinds.

    Attributes:
        vectors: float32 [Q, D], of norm 1.
        kinds: the kind of each.
        own: int64 [Q], the row that each is; -1 for none.
        hidden: int64 [Q], how many of its nearest rows are hidden from each.
    """

    vectors: np.ndarray
    kinds: tuple[str, ...]
    own: np.ndarray
    hidden: np.ndarray

    def judged(self) -> Iterator[tuple[str, np.ndarray]]:
        """Yields each kind and where its queries stand."""
        names = np.array(self.kinds)
        for kind in dict.fromkeys(self.kinds):
            yield kind, np.flatnonzero(names == kind)


@dataclasses.dataclass(frozen=True, eq=False)
class Truth:
    """The true neighbours of queries.

    Attributes:
        rows: int64 [Q, k], best first, without what is hidden.
        hidden_rows, hidden_queries: int64 [n], sorted by row: which row is hidden from which query.
    """

    rows: np.ndarray
    hidden_rows: np.ndarray
    hidden_queries: np.ndarray

    def hide(self, scores: np.ndarray, start: int) -> None:
        """Writes minus infinity over what is hidden, in scores [Q, n] of the rows from `start` on."""
        first, last = np.searchsorted(self.hidden_rows, [start, start + scores.shape[1]])
        scores[self.hidden_queries[first:last], self.hidden_rows[first:last] - start] = -np.inf


def outside_queries(
    embeddings: np.ndarray, second_moment: np.ndarray, k: int, given: np.ndarray | None = None
) -> OutsideQueries:
    """Returns queries for a gallery; the same ones whenever it is built.

    Args:
        embeddings: float [G, D], rows of norm 1; may be memory-mapped.
        second_moment: float64 [D, D], the mean of rowᵀ row.
        k: neighbours in an answer.
        given: float [n, D] of norm 1, real queries; None for none.
    """
    rng = np.random.default_rng(0)
    rows = len(embeddings)
    drawn = np.sort(rng.choice(rows, min(rows, 3 * PER_KIND), replace=False))
    parts = np.array_split(rng.permutation(drawn), 3)
    held_out, moved, unseen = (np.sort(part[:PER_KIND]) for part in parts)
    vectors, kinds, own, hidden = [], [], [], []

    def add(kind: str, points: np.ndarray, origin: np.ndarray | None, hide: int) -> None:
        vectors.append(np.asarray(points, np.float32))
        kinds.extend([kind] * len(points))
        own.append(np.full(len(points), -1) if origin is None else origin)
        hidden.append(np.full(len(points), hide))

    if rows > k and len(held_out):
        add("held_out", embeddings[held_out], held_out, 0)
    if rows > _NEAR and len(moved):
        add("perturbed", _perturbed(embeddings, second_moment, moved, rng), None, 0)
    enough = given is not None and len(given) >= MIN_GIVEN
    neighbourhood = math.isqrt(rows) // 3
    if not enough and len(unseen) and rows > neighbourhood + k:
        add("unseen", embeddings[unseen], unseen, neighbourhood)
    if given is not None and len(given):
        picked = given[np.linspace(0, len(given) - 1, min(len(given), 2 * PER_KIND)).astype(int)]
        add("given" if enough else "held_out", picked, None, 0)
    if not vectors:  # every answer holds all rows
        add("held_out", embeddings[:1], None, 0)
    return OutsideQueries(np.concatenate(vectors), tuple(kinds), np.concatenate(own), np.concatenate(hidden))


def true_neighbours(embeddings: np.ndarray, queries: OutsideQueries, k: int) -> Truth:
    """Returns the true neighbours of the queries among what is not hidden from them."""
    found = np.empty((len(queries.vectors), k), np.int64)
    pairs = [np.stack([queries.own, np.arange(len(queries.own))], axis=1)[queries.own >= 0]]
    for count in np.unique(queries.hidden):
        here = np.flatnonzero(queries.hidden == count)
        rows, _ = _nearest(embeddings, queries.vectors[here], queries.own[here], int(count) + k)
        found[here] = rows[:, count:]
        pairs.append(np.stack([rows[:, :count].ravel(), np.repeat(here, count)], axis=1))
    joined = np.concatenate(pairs)
    joined = joined[np.argsort(joined[:, 0], kind="stable")]
    return Truth(found, joined[:, 0], joined[:, 1])


def where_true(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the row and column numbers of the few true values of bool [n, m], row by row; quicker than `nonzero`."""
    row, column = np.divmod(np.flatnonzero(mask), mask.shape[1])
    return row, column


def _nearest(embeddings: np.ndarray, queries: np.ndarray, own: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns int64 and float32 [Q, count]: the rows of the largest scores, best first, without each one's own."""
    total = len(queries)
    rows = np.empty((total, 0), np.int64)
    scores = np.empty((total, 0), np.float32)
    chunk = max(count, min(_CHUNK, _SCORES // max(1, total)))
    for start in range(0, len(embeddings), chunk):
        here = queries @ np.asarray(embeddings[start : start + chunk], np.float32).T
        inside = np.flatnonzero((own >= start) & (own < start + here.shape[1]))
        here[inside, own[inside] - start] = -np.inf
        if scores.shape[1] < count:
            rows = np.hstack([rows, np.broadcast_to(np.arange(start, start + here.shape[1]), here.shape)])
            scores = np.hstack([scores, here])
            if scores.shape[1] > count:
                keep = np.argpartition(-scores, count - 1, axis=1)[:, :count]
                rows, scores = np.take_along_axis(rows, keep, axis=1), np.take_along_axis(scores, keep, axis=1)
            continue
        query, column = where_true(here > scores.min(axis=1, keepdims=True))
        edges = np.searchsorted(query, np.arange(total + 1))
        for number in np.unique(query):
            new = column[edges[number] : edges[number + 1]]
            both = np.concatenate([scores[number], here[number, new]])
            keep = np.argpartition(-both, count - 1)[:count]
            rows[number] = np.concatenate([rows[number], start + new])[keep]
            scores[number] = both[keep]
    order = np.argsort(-scores, axis=1, kind="stable")
    return np.take_along_axis(rows, order, axis=1), np.take_along_axis(scores, order, axis=1)


def _perturbed(
    embeddings: np.ndarray, second_moment: np.ndarray, chosen: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Returns float32 [n, D] of norm 1: points by the chosen rows that are not in the gallery."""
    origin = np.asarray(embeddings[chosen], np.float32)
    rows, scores = _nearest(embeddings, origin, chosen, _NEAR)
    distance = np.sqrt(np.maximum(0, 2 - 2 * scores[:, -1:]))
    neighbour = np.asarray(embeddings[rows[np.arange(len(rows)), rng.integers(0, _NEAR, len(rows))]], np.float32)
    energies, directions = np.linalg.eigh(second_moment)
    moves = rng.standard_normal(origin.shape) * np.sqrt(np.maximum(energies, 0)) @ directions.T
    moves *= distance * rng.random((len(rows), 1)) / np.maximum(np.linalg.norm(moves, axis=1, keepdims=True), 1e-9)
    points = origin + 0.5 * rng.random((len(rows), 1)) * (neighbour - origin) + moves
    return np.asarray(points / np.linalg.norm(points, axis=1, keepdims=True), np.float32)
