"""Judging by held-out answers: against a naive loop, and the interval against what it promises."""

import numpy as np
import pytest
import scipy.stats

from kdistill.errors import KdistillError
from kdistill.evaluation.held_out import bootstrap_interval, gain_interval, held_out_agreement


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize("count", [60, 30, 9])
def test_all_measures_equal_a_naive_loop(count):
    random = np.random.default_rng(count)
    teacher = random.normal(size=(count, 5)).astype(np.float32)
    student = np.concatenate([teacher, random.normal(size=(count, 4))], axis=1).astype(np.float32)
    depth = min(10, (count - 1) // 4)
    overlap, first, tau = [], [], []
    for query in range(count):
        orders = []
        for rows in (unit(teacher), unit(student)):
            cosines = rows @ rows[query]
            orders.append([row for row in np.argsort(-cosines) if row != query][:depth])
        wanted, found = orders
        overlap.append(len(set(wanted) & set(found)) / depth)
        first.append(wanted[0] in found)
        scores = [rows[wanted] @ rows[query] for rows in (unit(teacher), unit(student))]
        tau.append(scipy.stats.kendalltau(*scores).statistic)
    agreement = held_out_agreement(student, teacher)
    np.testing.assert_allclose(agreement.overlap, overlap)
    np.testing.assert_array_equal(agreement.first, first)
    np.testing.assert_allclose(agreement.tau, tau, atol=1e-6)
    values = agreement.as_dict()
    assert values["overlap_at_10"] == pytest.approx(np.mean(overlap))
    assert values["overlap_at_10_low"] <= values["overlap_at_10"] <= values["overlap_at_10_high"]
    assert values["first_in_10"] == pytest.approx(np.mean(first))


def test_a_model_agrees_with_itself():
    rows = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
    values = held_out_agreement(3 * rows, rows).as_dict()
    assert values["overlap_at_10"] == values["first_in_10"] == values["overlap_at_10_low"] == 1.0


def test_the_interval_holds_the_mean_as_often_as_it_says():
    random = np.random.default_rng(1)
    held = 0
    for trial in range(200):
        low, high = bootstrap_interval(random.beta(2, 3, size=80), seed=trial)
        held += low <= 0.4 <= high
    # 95 % of 200 with a margin of three standard deviations.
    assert 180 <= held <= 199


def test_a_gain_is_found_where_photos_differ_more_than_models():
    random = np.random.default_rng(2)
    teacher = random.normal(size=(100, 8)).astype(np.float32)
    worse = teacher + random.normal(size=teacher.shape).astype(np.float32)
    better = teacher + 0.5 * (worse - teacher)
    after, before = (held_out_agreement(rows, teacher) for rows in (better, worse))
    gain, low, high = gain_interval(after, before)
    assert gain == pytest.approx(after.overlap.mean() - before.overlap.mean())
    assert 0 < low < gain < high
    same, low, high = gain_interval(before, before)
    assert (same, low, high) == (0.0, 0.0, 0.0)


def test_what_cannot_be_compared_is_one_sentence():
    with pytest.raises(KdistillError, match="5 photos were embedded and 4 answers"):
        held_out_agreement(np.ones((5, 2)), np.ones((4, 2)))
    with pytest.raises(KdistillError, match="at least 3"):
        held_out_agreement(np.ones((2, 2)), np.ones((2, 2)))
