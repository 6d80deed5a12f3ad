"""The ranker learns what only comparisons tell: a direction that the features alone do not rank by."""

import numpy as np
import pytest

from kdistill.assistant.heads import fit_orders, fit_preferences, untaught


@pytest.fixture
def world():
    """Features of strong noise directions and a weak pair of coordinates; the teacher sees these two alone."""
    random = np.random.default_rng(0)
    truth = random.normal(size=(80, 2))
    noise = random.normal(size=(80, 6)) * 1.5
    features = np.concatenate([truth, noise], axis=1).astype(np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    truth /= np.linalg.norm(truth, axis=1, keepdims=True)
    return features, truth @ truth.T


def agreement(vectors: np.ndarray, cosines: np.ndarray) -> float:
    """Share of triples (query, a, b) of rows never asked about that the vectors put as the teacher does."""
    mine = vectors @ vectors.T
    rows = range(60, 80)
    votes = [
        (mine[q, a] > mine[q, b]) == (cosines[q, a] > cosines[q, b])
        for q in rows
        for a in rows
        for b in range(60, a)
        if q not in (a, b)
    ]
    return float(np.mean(votes))


def test_the_untaught_ranker_keeps_all_cosines_where_it_keeps_all_directions(world):
    features, _ = world
    vectors = untaught(features).embed(features)
    np.testing.assert_allclose(vectors @ vectors.T, features @ features.T, atol=1e-5)
    assert untaught(features, dim=3).projection.shape == (8, 3)


def test_it_learns_orders(world):
    features, cosines = world
    queries = np.arange(40)
    random = np.random.default_rng(1)
    candidates = np.stack([random.permutation(np.delete(np.arange(60), query))[:10] for query in queries])
    order = np.argsort(-np.take_along_axis(cosines[queries], candidates, axis=1), axis=1)
    candidates = np.take_along_axis(candidates, order, axis=1)
    options = {"steps": 150, "learning_rate": 0.02, "pull": 0.001}
    ranker = fit_orders(features, queries, candidates, **options)
    before = agreement(features, cosines)
    assert agreement(ranker.embed(features), cosines) > before + 0.15
    held = fit_orders(features, queries, candidates, **{**options, "pull": 1e4})
    np.testing.assert_allclose(np.abs(held.projection - untaught(features).projection).max(), 0, atol=0.05)


def test_it_learns_preferences(world):
    features, cosines = world
    random = np.random.default_rng(2)
    queries, first, second = random.integers(0, 60, (3, 600))
    probability = 1 / (1 + np.exp(-(cosines[queries, first] - cosines[queries, second]) / 0.1))
    options = {"steps": 150, "learning_rate": 0.02}
    ranker = fit_preferences(features, queries, first, second, probability, **options)
    before = agreement(features, cosines)
    assert agreement(ranker.embed(features), cosines) > before + 0.15
    # The other way round is the same answer.
    turned = fit_preferences(features, queries, second, first, 1 - probability, **options)
    np.testing.assert_allclose(turned.projection, ranker.projection, atol=1e-3)
