"""Whitening against its definition."""

import numpy as np
import pytest

from kdistill.errors import ArgumentError, KdistillError
from kdistill.teachers import fit_whitening


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    random = np.random.default_rng(0)
    return (random.normal(size=(300, 6)) @ random.normal(size=(6, 6)) + 5).astype(np.float32)


def test_whitened_vectors_are_uncorrelated_with_unit_variance(vectors):
    whitened = fit_whitening(vectors).transform(vectors, normalize=False)
    assert whitened.dtype == np.float32
    np.testing.assert_allclose(np.cov(whitened.T), np.eye(6), atol=1e-3)
    np.testing.assert_allclose(whitened.mean(axis=0), 0, atol=1e-4)


def test_normalised_rows_have_unit_length_and_the_mean_stays_finite(vectors):
    whitening = fit_whitening(vectors)
    np.testing.assert_allclose(np.linalg.norm(whitening.transform(vectors), axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(whitening.transform(whitening.mean[None]), 0)


def test_fewer_dimensions_keep_the_axes_of_largest_variance(vectors):
    full, short = fit_whitening(vectors), fit_whitening(vectors, dimension=2)
    np.testing.assert_array_equal(short.projection, full.projection[:, :2])
    variances = 1 / (full.projection**2).sum(axis=0)  # axes have unit length before they are scaled
    assert (np.diff(variances) < 0).all()


def test_shrinkage_moves_variances_towards_their_mean(vectors):
    variances = np.linalg.eigvalsh(np.cov(vectors.astype(np.float64).T))[::-1]
    whitened = fit_whitening(vectors, shrinkage=0.3).transform(vectors, normalize=False)
    expected = variances / (0.7 * variances + 0.3 * variances.mean())
    np.testing.assert_allclose(whitened.var(axis=0, ddof=1), expected, rtol=1e-3)


def test_full_shrinkage_only_centres_rotates_and_scales(vectors):
    whitening = fit_whitening(vectors, shrinkage=1.0)
    whitened = whitening.transform(vectors, normalize=False)
    before = np.linalg.norm(vectors[:20, None] - vectors[None, :20], axis=2)
    after = np.linalg.norm(whitened[:20, None] - whitened[None, :20], axis=2)
    scale = after[0, 1] / before[0, 1]
    np.testing.assert_allclose(after, scale * before, rtol=1e-3, atol=1e-4)


def test_few_vectors_determine_few_axes():
    vectors = np.random.default_rng(1).normal(size=(4, 10))
    assert fit_whitening(vectors).projection.shape == (10, 3)
    assert fit_whitening(vectors, shrinkage=0.1).projection.shape == (10, 10)
    with pytest.raises(ArgumentError, match="determine 3"):
        fit_whitening(vectors, dimension=4)


def test_wrong_arguments():
    with pytest.raises(ArgumentError, match=r"lie in 0\.\.1"):
        fit_whitening(np.zeros((3, 2)), shrinkage=1.5)
    with pytest.raises(KdistillError, match="two distinct"):
        fit_whitening(np.ones((3, 2)))
