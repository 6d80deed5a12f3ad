"""Times of searches that take turns, their recall, and the machine's limit."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from benchmarks.search.peers import Search

_PAUSE = 0.1
"""Seconds before a turn: numpy's threads spin for about 20 ms after a product, and take a core from whoever follows."""
_CHUNK = 16384


def race(candidates: dict[str, Search], queries: np.ndarray, *, rounds: int, per_turn: int) -> dict[str, float]:
    """Returns the milliseconds of one call with `queries[i]` ([Q, D] of a stack [calls, Q, D]), for each candidate.

    A candidate's time is the median in its fastest turn: what else runs on the machine only ever adds to it, and most
    to libraries whose threads wait for each other.
    """
    turns: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, search in candidates.items():
            time.sleep(_PAUSE)
            search(queries[-1])
            times = []
            for call in queries[:per_turn]:
                start = time.perf_counter()
                search(call)
                times.append(1000 * (time.perf_counter() - start))
            turns[name].append(float(np.median(times)))
    return {name: min(medians) for name, medians in turns.items()}


def recall_of(exact: np.ndarray, queries: np.ndarray) -> Callable[[Search], float]:
    """Returns what measures the recall of a search on queries [Q, D] whose true rows are `exact` [Q, k]."""
    return lambda search: recall(search(queries), exact)


def recall(found: np.ndarray, exact: np.ndarray) -> float:
    """Returns the share of the exact rows [Q, k] that were found."""
    shared = [len(set(one) & set(other)) for one, other in zip(found.tolist(), exact.tolist(), strict=True)]
    return sum(shared) / exact.size


def exact_rows(gallery: np.ndarray, queries: np.ndarray, k: int) -> np.ndarray:
    """Returns the rows of the largest products in float32, int64 [Q, k], best first, in pieces of bounded memory."""
    rows = np.empty((len(queries), 0), np.int64)
    scores = np.empty((len(queries), 0), np.float32)
    for start in range(0, len(gallery), _CHUNK):
        here = queries @ gallery[start : start + _CHUNK].T
        top = np.argpartition(here, -min(k, here.shape[1]), axis=1)[:, -k:]
        rows = np.hstack([rows, start + top])
        scores = np.hstack([scores, np.take_along_axis(here, top, axis=1)])
        order = np.argsort(-scores, axis=1)[:, :k]
        rows, scores = np.take_along_axis(rows, order, axis=1), np.take_along_axis(scores, order, axis=1)
    return rows


def read_bandwidth(num_threads: int) -> float:
    """Returns GiB/s at which the threads read a matrix larger than the caches."""
    parts = np.array_split(np.ones(2**25, np.int64), num_threads)
    with ThreadPoolExecutor(num_threads) as pool:
        best = float("inf")
        for _ in range(5):
            start = time.perf_counter()
            list(pool.map(np.max, parts))
            best = min(best, time.perf_counter() - start)
    return 2**28 / 2**30 / best
