"""Figures of `benchmarks.judging`, against scipy and by hand."""

import numpy as np
import pytest
import scipy.stats

from benchmarks.judging.report import figures_of


def _rows(overlaps: np.ndarray, maps: np.ndarray, ways=None) -> list[dict]:
    return [
        {"map": quality, "overlap_at_10": own[0], "shared_overlaps": list(own), "way": way}
        for quality, own, way in zip(maps, overlaps, ways or [[]] * len(maps), strict=True)
    ]


def test_the_correlation_is_the_mean_of_the_draws():
    random = np.random.default_rng(0)
    maps = random.normal(size=30)
    # Rounded: students with the same overlap share a rank.
    overlaps = np.round(maps[:, None] + random.normal(0, 0.7, (30, 5)), 1)
    figures = figures_of("grocery", _rows(overlaps, maps))
    each = [scipy.stats.spearmanr(column, maps).statistic for column in overlaps.T]
    assert figures["judge_spearman_grocery"] == pytest.approx(np.mean(each))
    assert figures["judge_spearman_grocery_std"] == pytest.approx(np.std(each, ddof=1))
    assert figures["judge_spearman_grocery_worst"] == pytest.approx(min(each))
    assert figures["judge_spearman_grocery_own_draws"] == pytest.approx(each[0])
    assert figures["judge_spearman_grocery_low"] < np.mean(each) < figures["judge_spearman_grocery_high"]
    assert figures["students_grocery"] == 30


def test_a_student_that_diverged_is_left_out():
    maps = np.array([0.1, np.nan, 0.3, 0.2])
    figures = figures_of("omniglot", _rows(np.array([[0.2, 0.1], [np.nan] * 2, [0.4, 0.3], [0.3, 0.2]]), maps))
    assert figures["judge_spearman_omniglot"] == pytest.approx(1)
    assert figures["students_omniglot"] == 3


def test_the_checkpoint_of_equal_overlaps_is_the_later():
    way = [{"map": m, "overlap_at_10": o} for m, o in ((0.50, 0.1), (0.60, 0.4), (0.57, 0.4), (0.55, 0.2))]
    maps, overlaps = np.array([0.55, 0.5, 0.4]), np.array([[0.2, 0.3], [0.1, 0.2], [0.15, 0.1]])
    figures = figures_of("grocery", _rows(overlaps, maps, [way, [], []]))
    assert figures["best_checkpoint_loss_points"] == pytest.approx(3)
    assert figures["last_checkpoint_loss_points"] == pytest.approx(5)
    assert figures["watched"] == 1
