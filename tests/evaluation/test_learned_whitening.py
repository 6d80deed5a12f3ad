"""Learned whitening against its defining properties."""

import numpy as np
import pytest

from kdistill.errors import ArgumentError, KdistillError
from kdistill.evaluation import evaluate_leave_one_out
from kdistill.evaluation.whitening import fit_learned_whitening, matching_pairs


@pytest.fixture(scope="module")
def classes():
    """Classes that differ in two of six directions, drowned by noise in the others; two sets of the same world."""
    random = np.random.default_rng(0)
    centres = random.standard_normal((12, 6)) * [1, 1, 0, 0, 0, 0]
    noise = np.array([0.1, 0.1, 1, 2, 1, 3])

    def draw(labels: np.ndarray) -> np.ndarray:
        return centres[labels] + noise * random.standard_normal((len(labels), 6))

    fitted, judged = np.repeat(np.arange(6), 40), np.repeat(np.arange(6, 12), 20)
    return draw(fitted), fitted, draw(judged), judged


def test_differences_of_matching_pairs_become_isotropic(classes):
    embeddings, labels, _, _ = classes
    pairs = matching_pairs(labels)
    whitening = fit_learned_whitening(embeddings, pairs, shrinkage=0)
    moved = whitening.transform(embeddings, normalize=False)
    differences = moved[pairs[:, 0]] - moved[pairs[:, 1]]
    np.testing.assert_allclose(differences.T @ differences / len(pairs), np.eye(6), atol=1e-3)
    variances = moved.var(axis=0)
    assert np.all(np.diff(variances) < 1e-6)


def test_it_helps_on_classes_that_it_was_not_fitted_on(classes):
    embeddings, labels, others, other_labels = classes
    whitening = fit_learned_whitening(embeddings, matching_pairs(labels), dimension=2)
    before = evaluate_leave_one_out(others, other_labels).map
    after = whitening.transform(others)
    assert after.shape == (120, 2)
    np.testing.assert_allclose(np.linalg.norm(after, axis=1), 1, atol=1e-5)
    assert evaluate_leave_one_out(after, other_labels).map > before + 0.1


def test_too_few_pairs_need_shrinkage(classes):
    embeddings, labels, _, _ = classes
    pairs = matching_pairs(labels)[:3]
    with pytest.raises(KdistillError, match="3 matching pairs do not determine a whitening in 6 dimensions"):
        fit_learned_whitening(embeddings, pairs, shrinkage=0)
    assert np.isfinite(fit_learned_whitening(embeddings, pairs, shrinkage=0.5).projection).all()
    assert np.isfinite(fit_learned_whitening(embeddings, pairs).projection).all()


@pytest.mark.parametrize("options", [{"dimension": 7}, {"dimension": 0}, {"shrinkage": 2.0}])
def test_impossible_options(classes, options):
    with pytest.raises(ArgumentError):
        fit_learned_whitening(classes[0], matching_pairs(classes[1]), **options)


def test_no_pairs_at_all(classes):
    with pytest.raises(KdistillError, match="none are given"):
        fit_learned_whitening(classes[0], matching_pairs(np.arange(240)))


def test_matching_pairs_share_a_label_and_come_once():
    labels = np.array([0, 1, 0, 1, 0, 2])
    pairs = matching_pairs(labels, pairs_per_row=9)
    assert pairs.tolist() == [[0, 2], [0, 4], [1, 3], [2, 4]]
    assert len(matching_pairs(np.zeros(50, int), pairs_per_row=1)) <= 50
