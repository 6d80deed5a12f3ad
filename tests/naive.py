"""Slow, plain definitions that the evaluation is compared with."""

import numpy as np


def ranking(scores: np.ndarray) -> np.ndarray:
    """Gallery indices best first; ties to the lower index."""
    return np.argsort(-scores, kind="stable")


def average_precision(relevant: list[bool]) -> float:
    """Plain average precision of a ranked list of hits and misses that holds all positives."""
    hits, total = 0, 0.0
    for place, hit in enumerate(relevant, 1):
        if hit:
            hits += 1
            total += hits / place
    return total / hits


def revisited(ranked: list[int], positives: set[int], junk: set[int], ks: tuple[int, ...]) -> dict[str, float] | None:
    """Average precision by trapezoids and precision at k, walking down the list with junk left out."""
    if not positives:
        return None
    kept = [index for index in ranked if index not in junk]
    area, found, last = 0.0, 0, 0
    for place, index in enumerate(kept):
        if index in positives:
            before = 1.0 if place == 0 else found / place
            found += 1
            area += (before + found / (place + 1)) / 2
            last = place + 1
    figures = {"map": area / len(positives)}
    for k in ks:
        cut = min(k, last)
        figures[f"mp_at_{k}"] = sum(index in positives for index in kept[:cut]) / cut
    return figures
