"""Choices against plain loops, and what holds for every strategy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdistill.errors import ArgumentError, KdistillError
from kdistill.teachers import STRATEGIES, select
from kdistill.teachers.choosing.selection import _mean_neighbour_distance


def farthest_first_loop(features: np.ndarray, count: int, first: int) -> list[int]:
    chosen = [first]
    while len(chosen) < count:
        distances = ((features[:, None] - features[chosen]) ** 2).sum(axis=2).min(axis=1)
        distances[chosen] = -1
        chosen.append(int(distances.argmax()))
    return chosen


@given(st.integers(2, 60), st.integers(1, 5), st.integers(0, 99), st.data())
@settings(max_examples=60, deadline=None)
def test_k_center_is_the_plain_farthest_first(n, dimension, seed, data):
    count = data.draw(st.integers(1, n))
    # Small integers: every distance is exact, and there are many ties, which both break by the lower index.
    features = np.random.default_rng(seed).integers(-9, 10, (n, dimension)).astype(np.float32)
    chosen = select("k-center", count, features=features, seed=seed)
    assert chosen.tolist() == farthest_first_loop(features, count, chosen[0])


def test_k_center_in_several_blocks_is_the_plain_farthest_first():
    features = np.random.default_rng(0).integers(-99, 100, (9000, 4)).astype(np.float32)
    chosen = select("k-center", 40, features=features, seed=3)
    assert chosen.tolist() == farthest_first_loop(features, 40, chosen[0])


@pytest.mark.parametrize("strategy", STRATEGIES)
@given(n=st.integers(1, 50), seed=st.integers(0, 20), data=st.data())
@settings(max_examples=5, deadline=None)
def test_choices_are_distinct_in_range_and_deterministic(strategy, n, seed, data):
    count = data.draw(st.integers(1, n))
    features = np.random.default_rng(seed).normal(size=(n, 3)).astype(np.float32)
    features[n // 2 :] = features[: n - n // 2]  # repeated images
    chosen = select(strategy, count, features=features, seed=seed)
    assert chosen.dtype == np.int64
    assert chosen.shape == (count,)
    assert len(set(chosen.tolist())) == count
    assert 0 <= chosen.min() <= chosen.max() < n
    np.testing.assert_array_equal(chosen, select(strategy, count, features=features, seed=seed))


@pytest.mark.parametrize("strategy", ["random", "k-center"])
def test_smaller_choices_are_prefixes(strategy):
    features = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    many = select(strategy, 30, features=features, seed=5)
    np.testing.assert_array_equal(select(strategy, 12, features=features, seed=5), many[:12])


def test_seeds_differ():
    assert select("random", 20, n=100, seed=0).tolist() != select("random", 20, n=100, seed=1).tolist()


@pytest.mark.parametrize("strategy", ["k-means++", "density"])
def test_one_image_of_each_well_separated_cluster(strategy):
    random = np.random.default_rng(0)
    centres = random.normal(size=(6, 8)) * 100
    labels = np.repeat(np.arange(6), [40, 35, 30, 25, 20, 15])
    features = (centres[labels] + random.normal(size=(len(labels), 8))).astype(np.float32)
    chosen = select(strategy, 6, features=features, seed=1)
    assert labels[chosen].tolist() == [0, 1, 2, 3, 4, 5]  # by falling size


def test_k_means_takes_the_image_nearest_to_the_mean_and_density_the_densest():
    line = np.array([0, 0.1, 0.2, 0.3, 1.0, 2.0, 3.0, 4.0, 9.0], np.float32)[:, None]
    assert line[select("k-means++", 1, features=line)[0], 0] == 2.0  # the mean is 2.18
    # Mean distances to the other eight: 2.26 at 0.3, 2.175 at 1.0, 2.55 at 2.0.
    assert line[select("density", 1, features=line)[0], 0] == 1.0


def test_mean_neighbour_distance_is_that_of_a_loop():
    rows = np.random.default_rng(2).normal(size=(45, 3)).astype(np.float32)
    distances = np.linalg.norm(rows[:, None] - rows[None], axis=2)
    expected = [np.sort(np.delete(distances[index], index))[:20].mean() for index in range(45)]
    np.testing.assert_allclose(_mean_neighbour_distance(rows), expected, rtol=1e-4)


def test_wrong_arguments():
    features = np.zeros((5, 2), np.float32)
    with pytest.raises(ArgumentError, match="unknown selection 'best'"):
        select("best", 2, n=5)
    for count in (0, 6):
        with pytest.raises(ArgumentError, match="chosen from 5"):
            select("random", count, n=5)
    with pytest.raises(ArgumentError, match="needs features"):
        select("k-center", 2, n=5)
    with pytest.raises(ArgumentError, match="not given"):
        select("random", 2)
    with pytest.raises(KdistillError, match="6 images came with features"):
        select("k-center", 2, n=6, features=features)
    features[1, 1] = np.nan
    with pytest.raises(KdistillError, match="not finite"):
        select("k-means++", 2, features=features)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_seeds_of_any_size_choose(strategy):
    features = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)
    choices = [select(strategy, 5, features=features, seed=seed) for seed in (0, 2**32, 2**63, 10**30)]
    assert all(len(set(choice.tolist())) == 5 for choice in choices)
    np.testing.assert_array_equal(choices[-1], select(strategy, 5, features=features, seed=10**30))
