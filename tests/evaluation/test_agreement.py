"""Agreement of two models."""

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from kdistill.errors import KdistillError
from kdistill.evaluation import evaluate_leave_one_out
from kdistill.evaluation.agreement import kendall_tau, teacher_agreement


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=2, max_size=30))
def test_kendall_tau_b_with_ties(pairs):
    first, second = np.array(pairs, np.float32).T
    expected = scipy.stats.kendalltau(first, second).statistic
    assert kendall_tau(first, second) == pytest.approx(0.0 if np.isnan(expected) else expected, abs=1e-12)


def test_overlap_is_the_share_of_common_neighbours():
    random = np.random.default_rng(0)
    student, teacher = random.standard_normal((2, 30, 6)).astype(np.float32)
    figures = teacher_agreement((student[:5], student), (teacher[:5], teacher), ks=(3,))
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (student, teacher)]
    tops = [np.argsort(-(rows[:5] @ rows.T), axis=1)[:, :3] for rows in unit]
    expected = np.mean([len(set(a) & set(b)) / 3 for a, b in zip(*tops, strict=True)])
    assert figures["teacher_overlap_at_3"] == pytest.approx(expected)
    # The whole gallery is less than 100 rows, so tau is over all of it.
    taus = [scipy.stats.kendalltau(a, b).statistic for a, b in zip(*(u[:5] @ u.T for u in unit), strict=True)]
    assert figures["teacher_kendall_tau_100"] == pytest.approx(np.mean(taus), abs=1e-3)


def test_a_model_agrees_with_itself_and_disagrees_with_its_opposite():
    rows = np.random.default_rng(1).standard_normal((40, 5)).astype(np.float32)
    labels = np.arange(40) % 3
    figures = evaluate_leave_one_out(rows, labels, teacher=2 * rows).as_dict()
    assert figures["teacher_overlap_at_10"] == 1.0
    assert figures["teacher_kendall_tau_100"] == pytest.approx(1.0, abs=1e-3)
    opposite = teacher_agreement((rows, -rows), (rows, rows), ks=(5,))
    assert opposite["teacher_kendall_tau_100"] == pytest.approx(-1.0, abs=1e-3)


def test_both_models_must_have_embedded_the_same_images():
    with pytest.raises(KdistillError, match="embedded 4 queries and the teacher 3"):
        teacher_agreement((np.ones((4, 2)), np.ones((4, 2))), (np.ones((3, 2)), np.ones((4, 2))))
