"""Figures and picture of `benchmarks.judging`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.stats

_RESAMPLES = 2000


def figures_of(problem: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Returns the figures of the finished students of one problem.

    `judge_spearman_PROBLEM` with `_low` and `_high` (95 %, bootstrap over the students), `students_PROBLEM`, and where
    some were judged on the way `best_checkpoint_loss_points` with `_std` (points of mAP below the best one by labels),
    `last_checkpoint_loss_points` (the same of the last one) and `watched`.
    """
    rows = [row for row in rows if np.isfinite(row["map"])]
    if len(rows) < 3:
        return {}
    pairs = np.array([(row["overlap_at_10"], row["map"]) for row in rows])
    random = np.random.default_rng(0)
    drawn = [_spearman(pairs[random.integers(0, len(pairs), len(pairs))]) for _ in range(_RESAMPLES)]
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    name = f"judge_spearman_{problem}"
    figures = {name: _spearman(pairs), f"{name}_low": float(low), f"{name}_high": float(high)}
    figures[f"students_{problem}"] = len(rows)
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


def _spearman(pairs: np.ndarray) -> float:
    return float(scipy.stats.spearmanr(pairs[:, 0], pairs[:, 1]).statistic) if len(set(pairs[:, 0])) > 1 else np.nan


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
        axes.scatter([row["overlap_at_10"] for row in found], [100 * row["map"] for row in found], alpha=0.7)
        spearman = figures.get(f"judge_spearman_{problem}", float("nan"))
        axes.set(
            xlabel="overlap@10 with the teacher, 100 held-out photos",
            ylabel="mAP by labels of the test, %",
            title=f"{problem}: {len(found)} students, Spearman {spearman:.2f}",
        )
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=130)
    pyplot.close(figure)
