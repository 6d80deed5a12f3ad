"""Counts how many scores stand before a few chosen ones, without sorting them."""

import threading

import numpy as np

BUCKETS = 16384
CHUNK = 32768
"""Scores that are counted at a time: they and their bucket numbers stay in a core's cache."""


class RankCounter:
    """The ranks of P targets among scores that arrive block by block, in any order and from any thread.

    The rank of a target at column p with score s_p is #{g : s_g > s_p} + #{g < p : s_g = s_p}: ties go to the lower
    column, as a stable sort by descending score would have it.

    Scores are put into buckets of equal width by a function that never decreases (a product and a sum, each rounded,
    then cut to an integer): a score in a higher bucket than a target's is surely larger, and only scores that share
    a bucket with a target are compared with it. The result is exact, and the cost is linear in the number of scores.
    Memory does not grow with their number.
    """

    def __init__(self, values: np.ndarray, columns: np.ndarray) -> None:
        """Takes the targets' scores float32 [P], finite, and columns int64 [P]."""
        self._levels, self._level_of_target = np.unique(values, return_inverse=True)
        self._group = self._level_of_target.astype(np.int64) << 40
        self._columns = columns
        low, high = float(self._levels[0]), float(self._levels[-1])
        # The width has a floor, so that a product with the scale cannot overflow when all targets score alike.
        width = max(high - low, 1e-6 * max(abs(low), abs(high)), 1e-20)
        self._scale = np.float32((BUCKETS - 1) / width)
        self._shift = np.float32(1 - low * float(self._scale))
        self._buckets = self._bucket_of(self._levels)
        self._shared = np.zeros(BUCKETS + 1, bool)
        self._shared[self._buckets] = True
        self._histogram = np.zeros(BUCKETS + 1, np.int64)
        # _close[i]: scores in a target's bucket with exactly i levels strictly below them.
        self._close = np.zeros(len(self._levels) + 1, np.int64)
        self._ties_before = np.zeros(len(columns), np.int64)
        self._lock = threading.Lock()

    def add(self, scores: np.ndarray, start: int) -> None:
        """Counts scores float32 [b] of columns start, start + 1, ...; minus infinity takes no part."""
        for first in range(0, len(scores), CHUNK):
            part = scores[first : first + CHUNK]
            buckets = self._bucket_of(part)
            histogram = np.bincount(buckets, minlength=BUCKETS + 1)
            close = np.flatnonzero(self._shared[buckets])
            values = part[close]
            below = np.searchsorted(self._levels, values)
            close_counts = np.bincount(below, minlength=len(self._close))
            equal = np.flatnonzero(self._levels[np.minimum(below, len(self._levels) - 1)] == values)
            # One integer for (level, column), so that ties of all levels are sorted and searched together.
            tied = np.sort((below[equal].astype(np.int64) << 40) + (start + first + close[equal]))
            ties = np.searchsorted(tied, self._group + self._columns) - np.searchsorted(tied, self._group)
            with self._lock:
                self._histogram += histogram
                self._close += close_counts
                self._ties_before += ties

    def ranks(self) -> np.ndarray:
        """Returns int64 [P]: 0-based ranks among all scores that were added."""
        histogram = np.where(self._shared, 0, self._histogram)
        surely_larger = histogram.sum() - np.cumsum(histogram)[self._buckets]
        larger = surely_larger + np.cumsum(self._close[::-1])[::-1][1:]
        return larger[self._level_of_target] + self._ties_before

    def _bucket_of(self, scores: np.ndarray) -> np.ndarray:
        """Returns intp [b]: 0 for what lies below all targets, BUCKETS for what lies above."""
        place = scores * self._scale
        place += self._shift
        np.clip(place, 0, BUCKETS, out=place)
        return place.astype(np.intp)
