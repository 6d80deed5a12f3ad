"""Measures of one query against values worked out by hand."""

import math

import numpy as np
import pytest

from kdistill.evaluation import measures

RANKS = np.array([0, 3, 5])


def test_plain_average_precision_is_the_mean_precision_at_positives():
    assert measures.average_precision(RANKS) == pytest.approx((1 / 1 + 2 / 4 + 3 / 6) / 3, abs=1e-15)


def test_trapezoid_average_precision_halves_the_precision_before_and_after():
    expected = ((1 + 1 / 1) / 2 + (1 / 3 + 2 / 4) / 2 + (2 / 5 + 3 / 6) / 2) / 3
    assert measures.average_precision_trapezoid(RANKS) == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize("measure", [measures.average_precision, measures.average_precision_trapezoid])
def test_a_perfect_ranking_scores_one(measure):
    assert measure(np.arange(4)) == pytest.approx(1.0, abs=1e-15)


def test_precision_is_cut_to_the_last_positive():
    assert measures.precision_at(RANKS, 5) == 2 / 5
    # The last positive stands at place 6, so precision at 10 is over 6 places.
    assert measures.precision_at(RANKS, 10) == 3 / 6


def test_recall_asks_for_one_positive_within_k():
    late = np.array([4, 9])
    assert [measures.recall_at(late, k) for k in (1, 4, 5)] == [0.0, 0.0, 1.0]


def test_map_at_r_counts_only_the_first_r_places():
    assert measures.map_at_r(np.array([0, 2, 7])) == pytest.approx((1 / 1 + 2 / 3) / 3, abs=1e-15)


def test_r_precision_is_the_share_of_positives_in_the_first_r_places():
    assert measures.r_precision(np.array([0, 2, 7])) == pytest.approx(2 / 3)


def test_ndcg_discounts_by_the_logarithm_of_the_place():
    gained = 1 / math.log2(2) + 1 / math.log2(5)
    ideal = 1 / math.log2(2) + 1 / math.log2(3) + 1 / math.log2(4)
    assert measures.ndcg_at(RANKS, 5) == pytest.approx(gained / ideal, abs=1e-15)
    assert measures.ndcg_at(np.array([0]), 5) == 1.0
