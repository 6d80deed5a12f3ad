"""Retrieval measures of one query, from the ranks of its positives alone.

Throughout, `ranks` is int64 [R]: the 0-based ranks of all R positives of a query, ascending, in a ranking from which
the query itself (and junk, where there is any) was taken out.
"""

import numpy as np


def average_precision(ranks: np.ndarray) -> float:
    """Plain average precision: the mean, over positives, of the precision at each one's rank."""
    return float(np.mean(_hits(ranks) / (ranks + 1)))


def average_precision_trapezoid(ranks: np.ndarray) -> float:
    """Average precision as the original Oxford Buildings evaluation integrates it (Philbin et al., CVPR 2007).

    Each positive adds 1/R times the mean of the precision just before its rank and the precision at it; before the
    first place the precision is 1. The revisited benchmarks keep this form.
    """
    found = np.arange(len(ranks))
    before = np.where(ranks == 0, 1.0, found / np.maximum(ranks, 1))
    return float(np.sum(before + (found + 1) / (ranks + 1)) / (2 * len(ranks)))


def precision_at(ranks: np.ndarray, k: int) -> float:
    """Precision among the first k, where k is cut to the last positive's rank if that is smaller."""
    cut = min(k, int(ranks[-1]) + 1)
    return float(np.count_nonzero(ranks < cut) / cut)


def recall_at(ranks: np.ndarray, k: int) -> float:
    """1 if a positive stands among the first k, else 0 (recall@k as metric learning uses the word)."""
    return float(ranks[0] < k)


def map_at_r(ranks: np.ndarray) -> float:
    """Average precision over the first R places only, misses counting as 0 (Musgrave et al., ECCV 2020)."""
    inside = ranks < len(ranks)
    return float(np.sum((_hits(ranks) / (ranks + 1))[inside]) / len(ranks))


def r_precision(ranks: np.ndarray) -> float:
    """Share of positives among the first R places."""
    return float(np.mean(ranks < len(ranks)))


def ndcg_at(ranks: np.ndarray, k: int) -> float:
    """Normalised discounted cumulative gain of the first k places, gain 1 for a positive (Järvelin & Kekäläinen)."""
    ideal = np.sum(1 / np.log2(np.arange(min(k, len(ranks))) + 2))
    return float(np.sum(1 / np.log2(ranks[ranks < k] + 2)) / ideal)


def _hits(ranks: np.ndarray) -> np.ndarray:
    """Positives found when each positive is reached: 1, 2, ..., R."""
    return np.arange(1, len(ranks) + 1)
