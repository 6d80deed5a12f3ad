"""Whitening against its definition."""

import numpy as np
import pytest
from sklearn.covariance import ledoit_wolf

from kdistill.errors import ArgumentError, KdistillError
from kdistill.teachers import fit_whitening
from kdistill.teachers.whitening import best_shrinkage


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    random = np.random.default_rng(0)
    return (random.normal(size=(300, 6)) @ random.normal(size=(6, 6)) + 5).astype(np.float32)


def test_whitened_vectors_are_uncorrelated_with_unit_variance(vectors):
    whitened = fit_whitening(vectors, shrinkage=0).transform(vectors, normalize=False)
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
    assert fit_whitening(vectors, shrinkage=0, dimension=2).projection.shape == (10, 2)
    assert fit_whitening(vectors, shrinkage=0.1).projection.shape == (10, 10)
    with pytest.raises(ArgumentError, match="determine 3"):
        fit_whitening(vectors, shrinkage=0, dimension=4)


@pytest.mark.parametrize(("n", "dimension"), [(20, 6), (100, 6), (12, 40), (100, 256)])
def test_the_best_shrinkage_is_that_of_ledoit_and_wolf(n, dimension):
    vectors = low_rank_and_noise(np.random.default_rng(3), n, dimension)
    _, expected = ledoit_wolf(vectors)
    assert best_shrinkage(vectors - vectors.mean(axis=0)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("n", "dimension"), [(100, 256), (100, 400), (256, 256), (7, 6)])
def test_without_shrinkage_few_vectors_would_lose_their_order_and_are_refused(n, dimension):
    vectors = low_rank_and_noise(np.random.default_rng(4), n, dimension)
    with pytest.raises(ArgumentError, match="equally far from each other"):
        fit_whitening(vectors, shrinkage=0)
    whitened = fit_whitening(vectors).transform(vectors)
    # Unshrunk, all of them would be -1/(n-1).
    assert (whitened @ whitened.T)[np.tril_indices(n, -1)].std() > 0.005


@pytest.mark.parametrize(("n", "dimension"), [(100, 256), (330, 256), (100, 400), (100, 64)])
def test_neighbours_after_few_answers_agree_with_those_of_many(n, dimension):
    many = low_rank_and_noise(np.random.default_rng(5), 4000, dimension)
    few = low_rank_and_noise(np.random.default_rng(6), n, dimension)
    others = low_rank_and_noise(np.random.default_rng(7), 300, dimension)
    well_sampled = fit_whitening(many, shrinkage=0).transform
    shrunk, unshrunk = fit_whitening(few).transform, fit_whitening(few, shrinkage=0, dimension=min(n - 2, dimension))
    for vectors in (few, others):
        wanted = neighbours(well_sampled(vectors))
        reached = agreement(neighbours(shrunk(vectors)), wanted)
        assert reached > 1.5 * agreement(neighbours(vectors - many.mean(axis=0)), wanted)
        assert reached > agreement(neighbours(unshrunk.transform(vectors)), wanted)


def low_rank_and_noise(random: np.random.Generator, n: int, dimension: int) -> np.ndarray:
    """Unit vectors: a fixed subspace of falling variances, and noise in all dimensions."""
    rank = max(2, min(20, dimension // 4))
    basis = np.linalg.qr(np.random.default_rng(0).normal(size=(dimension, rank)))[0] * 0.8 ** np.arange(rank)
    noise = 0.3 / np.sqrt(dimension) * random.normal(size=(n, dimension))
    vectors = random.normal(size=(n, rank)) @ basis.T + noise + 0.5
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def neighbours(vectors: np.ndarray) -> np.ndarray:
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, -2)
    return np.argsort(-cosines, axis=1)[:, :10]


def agreement(found: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.mean([len(set(row) & set(other)) / 10 for row, other in zip(found, wanted, strict=True)]))


def test_wrong_arguments():
    with pytest.raises(ArgumentError, match=r"lie in 0\.\.1"):
        fit_whitening(np.zeros((3, 2)), shrinkage=1.5)
    with pytest.raises(KdistillError, match="two distinct"):
        fit_whitening(np.ones((3, 2)))
