"""Figures and picture of `benchmarks.judging`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.stats

_RESAMPLES = 2000


def figures_of(problem: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Returns the figures of the finished students of one problem.

    `judge_spearman_PROBLEM`: of mAP with overlap@10 by 100 photos that are held out for all students alike, the mean
    over the draws of these photos, with `_std` and `_worst` of them, and `_low` and `_high` (95 %, bootstrap over
    the students); `judge_spearman_PROBLEM_own_draws`: where each student is judged by photos of a draw of its own;
    `students_PROBLEM`. Where some were judged on the way `best_checkpoint_loss_points` with `_std` (points of mAP below
    the best one by labels), `last_checkpoint_loss_points` (the same of the last one) and `watched`.
    """
    rows = [row for row in rows if np.isfinite(row["map"])]
    if len(rows) < 3:
        return {}
    maps = np.array([row["map"] for row in rows])
    shared = np.array([row["shared_overlaps"] for row in rows])
    random = np.random.default_rng(0)
    resampled = [random.integers(0, len(rows), len(rows)) for _ in range(_RESAMPLES)]
    low, high = np.nanpercentile([_spearmans(shared[drawn], maps[drawn]).mean() for drawn in resampled], [2.5, 97.5])
    by_draw = _spearmans(shared, maps)
    name = f"judge_spearman_{problem}"
    figures = {
        name: float(by_draw.mean()),
        f"{name}_std": float(by_draw.std(ddof=1)),
        f"{name}_worst": float(by_draw.min()),
        f"{name}_low": float(low),
        f"{name}_high": float(high),
        f"{name}_own_draws": float(_spearmans(np.array([[row["overlap_at_10"]] for row in rows]), maps)[0]),
        f"students_{problem}": len(rows),
    }
    ways = [row["way"] for row in rows if row["way"]]
    if ways:
        losses = np.array([_losses(way) for way in ways])
        figures |= {
            "best_checkpoint_loss_points": float(losses[:, 0].mean()),
            "best_checkpoint_loss_points_std": float(losses[:, 0].std(ddof=1)) if len(losses) > 1 else 0.0,
            "last_checkpoint_loss_points": float(losses[:, 1].mean()),
            "watched": len(ways),
        }
    return figures


def _spearmans(overlaps: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """Returns Spearman's correlation of each column of overlaps [n, draws] with maps [n]: [draws], NaN of constants."""
    ranks = scipy.stats.rankdata(np.column_stack([overlaps, maps]), axis=0)
    ranks -= ranks.mean(axis=0)
    with np.errstate(invalid="ignore"):
        ranks /= np.linalg.norm(ranks, axis=0)
    return ranks[:, :-1].T @ ranks[:, -1]


def _losses(way: Sequence[Mapping[str, float]]) -> tuple[float, float]:
    """Returns how far the checkpoint chosen by held-out answers, and the last one, lie below the best by labels."""
    maps = np.array([point["map"] for point in way])
    overlaps = np.array([point["overlap_at_10"] for point in way])
    # The later of equals, as `BestWeights` takes it.
    chosen = len(way) - 1 - int(np.argmax(overlaps[::-1]))
    return 100 * float(maps.max() - maps[chosen]), 100 * float(maps.max() - maps[-1])


def draw(rows: Mapping[str, Sequence[Mapping[str, Any]]], figures: Mapping[str, float], path: Path) -> None:
    """Draws each student's mAP by labels against its overlap with held-out answers, a panel a problem."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, len(rows), figsize=(5 * len(rows), 4.2), layout="constrained", squeeze=False)
    for axes, (problem, found) in zip(panels[0], rows.items(), strict=True):
        axes.scatter([row["shared_overlaps"][0] for row in found], [100 * row["map"] for row in found], alpha=0.7)
        spearman = figures.get(f"judge_spearman_{problem}", float("nan"))
        axes.set(
            xlabel="overlap@10 with the teacher, 100 held-out photos (the first of 20 draws)",
            ylabel="mAP by labels of the test, %",
            title=f"{problem}: {len(found)} students, Spearman {spearman:.2f} (mean of the draws)",
        )
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=130)
    pyplot.close(figure)
