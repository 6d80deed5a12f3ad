"""Large galleries are scanned by their leading coordinates only, and a longer shortlist is ranked by all of them.

Beyond a processor's caches a scan takes as long as its bytes take to be read. Embeddings lie near a subspace: turned so
that the coordinates of most energy come first, a row's part of the score sits in fewer of them. A rotation changes no
inner product, so the ranking by all coordinates stays what it was.

Two details decide how many neighbours the shortlist holds (see benchmarks/results/NOTES.md). The directions are those
of the rows themselves, not of their differences from the mean row: the mean row is a large part of every query, and
what it adds must not be cut. And the leading coordinates are mixed by a random rotation, which evens out their sizes,
as one scale a row wants it.

Which part is scanned, and how long the shortlist is, is chosen by what it does to queries from outside the gallery
(`outside_queries.py`): the cheapest pair whose recall is certain enough. Where no part suffices, all is scanned. Of
very large galleries a search may read a few lists of rows only (`lists.py`), if that is certain enough too.
"""

import dataclasses

import numpy as np

from export.search import lists as inverted
from export.search.layout import MIN_SHORTLIST
from export.search.lists import Lists
from export.search.outside_queries import OutsideQueries, Truth, true_neighbours, where_true
from export.search.recall_bound import CONFIDENCE, Measured, lower_bound

MIN_CODES = 2**23
"""One byte each: smaller galleries stay in the caches that a thread gets on the processors that we measured."""
MIN_RECALL = 0.99
"""What the lower bound of the recall has to reach, for each kind of queries."""
_SHARES = (3 / 8, 1 / 2, 3 / 4)
"""Leading parts that are tried beside all coordinates."""
_FACTORS = (2, 3, 4, 6, 8, 10, 15, 20, 30, 50, 75, 100, 150, 200)
"""Rows of the shortlist for each of the k."""
ROW_COST = 40_000
"""Time of a row in the shortlist, in that of a byte of the scan; and what a scanned row takes beside its codes:"""
_ROW_BYTES = 12
_HOPELESS = 0.05
"""Share of the neighbours that may be lost before a candidate is given up."""
LIST_COST = 3.5
"""Time of a byte in lists, which are copied and multiplied by another kernel, in that of a byte of the whole scan."""
SHARES_OF_LISTS = (0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.04, 0.06, 0.08, 0.12, 0.16)
"""Parts of all blocks that a search may read."""
_CHUNK = 8192


@dataclasses.dataclass(frozen=True, eq=False)
class FirstPass:
    """What is scanned.

    Attributes:
        rotation: float32 [D, D], orthogonal; rows and queries are multiplied by it from the right.
        dimension: leading coordinates of the product that the scan reads.
    """

    rotation: np.ndarray
    dimension: int


def choose_first_pass(
    embeddings: np.ndarray, centre: np.ndarray, second_moment: np.ndarray, queries: OutsideQueries, k: int
) -> tuple[FirstPass | None, Measured, Lists | None]:
    """Returns the cheapest first pass that holds MIN_RECALL on queries from outside, None where all must be read.

    With it come how many rows have to be ranked again, on what that was measured, and lists where they make the search
    cheaper. Where even the longest shortlist
    over all coordinates misses the bound, it is taken, and `Measured.bound` says so.

    Args:
        embeddings: float [G, D], the gallery; may be memory-mapped.
        centre: float32 [D], taken off every row before it is coded.
        second_moment: float64 [D, D], the mean of rowᵀ row.
        queries: what to judge by.
        k: neighbours in an answer.
    """
    rows, dimension = embeddings.shape
    truth = true_neighbours(embeddings, queries, min(k, rows))
    counts = sorted({min(rows, max(MIN_SHORTLIST, factor * k)) for factor in _FACTORS})
    directions = np.linalg.eigh(second_moment)[1][:, ::-1]
    candidates: list[FirstPass | None] = [None]
    if rows * dimension >= MIN_CODES:
        candidates += [_leading(directions, int(share * dimension)) for share in _SHARES]
    best: tuple[float, FirstPass | None, Measured, Lists | None] | None = None
    lists = inverted.build_lists(embeddings) if rows >= inverted.MIN_ROWS else None
    places = None if lists is None else _places(lists, queries, truth)
    for candidate in candidates:
        scanned = dimension if candidate is None else candidate.dimension
        scan_cost = float(rows * (scanned + _ROW_BYTES))
        plans: list[tuple[float, int, int | None]] = [(scan_cost + ROW_COST * count, count, None) for count in counts]
        if lists is not None:
            for share in SHARES_OF_LISTS:
                some = max(1, round(share * len(lists.centres)))
                read = LIST_COST * some * inverted.SLOTS * (scanned + _ROW_BYTES) + lists.centres.nbytes
                longest = some * inverted.SLOTS // inverted.DEPTH
                plans += [(read + ROW_COST * count, count, some) for count in counts if count <= longest]
        plans = sorted((plan for plan in plans if best is None or plan[0] < best[0]), key=lambda plan: plan[0])
        if not plans:
            continue
        before = _rows_before(embeddings, centre, candidate, queries, truth, max(plan[1] for plan in plans))
        for cost, count, probes in plans:
            found = before < count
            if places is not None and probes is not None:
                found &= places < probes
            measured = _measured(found, count, queries, k, rows)
            if measured.bound >= MIN_RECALL:
                chosen = None if lists is None or probes is None else dataclasses.replace(lists, probes=probes)
                best = cost, candidate, measured, chosen
                break
        if best is None:  # nothing is certain enough: all coordinates, which come first, and the longest shortlist
            measured = _measured(before < counts[-1], counts[-1], queries, k, rows)
            best = scan_cost + ROW_COST * counts[-1], candidate, measured, None
    assert best is not None
    return best[1:]


def _leading(directions: np.ndarray, count: int) -> FirstPass:
    mixed = np.linalg.qr(np.random.default_rng(0).standard_normal((count, count)))[0]
    rotation = np.hstack([directions[:, :count] @ mixed, directions[:, count:]])
    return FirstPass(np.ascontiguousarray(rotation, np.float32), count)


def _places(lists: Lists, queries: OutsideQueries, truth: Truth) -> np.ndarray:
    """Returns int64 [Q, k]: the place of each true neighbour's list among all lists of its query."""
    ranks = np.argsort(np.argsort(-(queries.vectors @ lists.centres.T), axis=1), axis=1)
    return np.take_along_axis(ranks, lists.of_rows[truth.rows], axis=1)


def _measured(found: np.ndarray, count: int, queries: OutsideQueries, k: int, rows: int) -> Measured:
    """Returns the recall of a shortlist of `count` rows, from whether each true neighbour is in it, bool [Q, k]."""
    shares = found.mean(axis=1)
    kinds = {}
    for kind, here in queries.judged():
        part = shares[here]
        bound = lower_bound(part, found.shape[1])
        kinds[kind] = {"queries": len(part), "recall": round(float(part.mean()), 4), "bound": round(bound, 4)}
    least = min(float(kind["bound"]) for kind in kinds.values())
    return Measured(k=k, rows=rows, shortlist=count, bound=least, confidence=CONFIDENCE, kinds=kinds)


def _rows_before(
    embeddings: np.ndarray,
    centre: np.ndarray,
    first_pass: FirstPass | None,
    queries: OutsideQueries,
    truth: Truth,
    enough: int,
) -> np.ndarray:
    """Returns int64 [Q, k]: how many rows the scan puts before each true neighbour, codes rounded as in the file.

    Of a neighbour with `enough` rows before it no more are counted, and none of any once too many are lost.
    """
    rotation = None if first_pass is None else first_pass.rotation
    scanned = embeddings.shape[1] if first_pass is None else first_pass.dimension
    short = queries.vectors if rotation is None else queries.vectors @ rotation[:, :scanned]
    step = np.abs(short).max(axis=1, keepdims=True) / np.float32(127)
    short = np.rint(short / step) * step

    def coded(rows: np.ndarray) -> np.ndarray:
        rows = np.asarray(rows, np.float32) - centre
        rows = rows if rotation is None else rows @ rotation
        scale = np.maximum(np.abs(rows).max(axis=1, keepdims=True) / np.float32(127), np.float32(1e-9))
        return np.rint(rows[:, :scanned] / scale) * scale

    found, k = truth.rows, truth.rows.shape[1]
    scores = np.einsum("qkc,qc->qk", coded(embeddings[found.ravel()]).reshape(len(found), k, -1), short)
    # Sums of another order differ in their last bits, and a row must not stand before itself.
    scores += np.float32(1e-6)
    order = np.sort(scores, axis=1)
    limit = order[:, 0]
    better = np.zeros((len(found), k + 1), np.int64)
    for start in range(0, len(embeddings), _CHUNK):
        here = short @ coded(embeddings[start : start + _CHUNK]).T
        truth.hide(here, start)
        query, row = where_true(here > limit[:, None])
        values = here[query, row]
        # A row stands before as many of the neighbours as have smaller scores.
        passed = (values[:, None] > order[query]).sum(axis=1)
        np.add.at(better, (query, passed), 1)
        # Passing p neighbours counts for the p lowest of them: the sum from the right.
        before = np.cumsum(better[:, ::-1], axis=1)[:, ::-1][:, 1:]
        lost = (before >= enough).sum(axis=1)
        if lost.sum() > _HOPELESS * before.size:
            break
        limit = np.where(lost < k, np.take_along_axis(order, np.minimum(lost, k - 1)[:, None], axis=1)[:, 0], np.inf)
    return np.take_along_axis(before, np.argsort(np.argsort(scores, axis=1), axis=1), axis=1)
