"""Teachers that only compare two images, the pairs they are asked about, and answers that cannot all be right."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdistill.data import Image, ImageSet
from kdistill.errors import ArgumentError, KdistillError
from kdistill.preferences.consistency import settle
from kdistill.preferences.pair_sampling import PAIR_SAMPLERS, pair_weights, sample_pairs
from kdistill.preferences.pairs import Preferences, PreferencesByEmbedding, as_preference_teacher, ask_preferences
from kdistill.teachers import Ledger
from kdistill.teachers.providers.function import FunctionTeacher

TRIPLES = np.array([[0, 1, 2], [0, 2, 1], [3, 1, 2]])


@pytest.fixture
def pool() -> ImageSet:
    return ImageSet([Image(f"i{n}", array=np.full((2, 2, 3), n, np.uint8)) for n in range(4)])


@pytest.fixture
def ledger(tmp_path):
    with Ledger(tmp_path / "ledger.sqlite") as opened:
        yield opened


class Table:
    name, view = "table", "id"
    vectors = np.array([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0], [0.0, 0.5]])

    def embed(self, images):
        return self.vectors[[int(image.id[1:]) for image in images]]


class Scripted:
    name, view = "scripted", "image"

    def __init__(self, *answers) -> None:
        self.answers = list(answers)

    def prefer(self, query, first, second):
        return self.answers.pop(0)


def given_preferences(*rows) -> Preferences:
    """Rows of (query, first, second, probability)."""
    queries, first, second = (np.array([row[column] for row in rows], np.int64) for column in range(3))
    return Preferences(queries, first, second, np.array([row[3] for row in rows], np.float32))


def left(settled) -> list[tuple]:
    found = settled.preferences
    columns = (found.queries.tolist(), found.first.tolist(), found.second.tolist(), found.probability.tolist())
    return [(query, a, b, pytest.approx(p)) for query, a, b, p in zip(*columns, strict=True)]


def test_an_embedding_teacher_prefers_by_the_logistic_of_the_gap(pool, ledger):
    found = ask_preferences(PreferencesByEmbedding(Table(), 0.5), pool, TRIPLES, ledger, budget=3, batch_size=2)
    # From image 0 the cosines are 1 and 0, from image 3 they are 0 and 1: gaps of 1, -1, -1 over 0.5.
    high, low = 1 / (1 + np.exp(-2)), 1 / (1 + np.exp(2))
    np.testing.assert_allclose(found.probability, [high, low, low], rtol=1e-6)
    assert (found.spent, ledger.summary().view, ledger.summary().dimension) == (3, "preference/id", 1)
    assert np.array_equal(np.stack([found.queries, found.first, found.second], axis=1), TRIPLES)
    assert ask_preferences(PreferencesByEmbedding(Table(), 0.5), pool, TRIPLES, ledger, budget=3).spent == 0
    with pytest.raises(KdistillError, match="preferences at"):
        ask_preferences(PreferencesByEmbedding(Table(), 0.25), pool, TRIPLES, ledger, budget=3)


@pytest.mark.parametrize("wrong", [-0.1, 1.01, float("nan"), float("inf"), "yes", None, [0.5, 0.5]])
def test_what_is_no_probability_is_a_bad_answer_of_that_question(wrong, pool, ledger):
    found = ask_preferences(Scripted(0.0, wrong, 1.0), pool, TRIPLES, ledger, budget=3)
    assert found.probability.tolist() == [0.0, 1.0]
    assert found.queries.tolist() == [0, 3]
    assert len(found.skipped) == 1
    assert (ledger.summary().bad, ledger.summary().spent) == (1, 3)


def test_every_kind_of_teacher_can_be_asked_for_preferences(pool):
    teacher = Scripted(0.25)
    assert as_preference_teacher(teacher) is teacher
    function = as_preference_teacher(FunctionTeacher(teacher.prefer, name="mine:prefer"))
    assert (function.name, function.prefer(*pool[:3])) == ("mine:prefer", 0.25)
    assert isinstance(as_preference_teacher(Table()), PreferencesByEmbedding)
    with pytest.raises(ArgumentError, match="above 0"):
        PreferencesByEmbedding(Table(), 0.0)


def test_weights_of_pairs_by_rank():
    half, third = 1 / 2, 1 / 3
    expected = {
        "uniform": [1, 1, 1],
        "rr": [half, third, half * third],
        "rr_sum": [1 + half, 1 + third, half + third],
        "rr_diff": [1 - half, 1 - third, half - third],
    }
    assert set(expected) == set(PAIR_SAMPLERS)
    for sampler, values in expected.items():
        weights = pair_weights(sampler, 3)
        np.testing.assert_allclose(weights[[0, 0, 1], [1, 2, 2]], values)
        np.testing.assert_array_equal(weights, weights.T)
        assert not np.diag(weights).any()


@pytest.mark.parametrize("sampler", PAIR_SAMPLERS)
def test_pairs_are_drawn_in_proportion_to_their_weights(sampler):
    drawn = np.sort(sample_pairs(sampler, 4, 1, queries=40_000, seed=5)[:, 0], axis=1)
    first, second = np.triu_indices(4, 1)
    wanted = pair_weights(sampler, 4)[first, second]
    counts = [(drawn == pair).all(axis=1).sum() for pair in zip(first, second, strict=True)]
    # Five standard deviations of a share are at most 5 / 2 / sqrt(40,000).
    np.testing.assert_allclose(np.array(counts) / 40_000, wanted / wanted.sum(), atol=0.0125)


@pytest.mark.parametrize("sampler", PAIR_SAMPLERS)
def test_pairs_do_not_repeat_and_fewer_are_a_prefix(sampler):
    every = sample_pairs(sampler, 6, 15, queries=3, seed=1)
    for query in every:
        assert {tuple(sorted(pair)) for pair in query.tolist()} == set(itertools.combinations(range(6), 2))
    np.testing.assert_array_equal(sample_pairs(sampler, 6, 4, queries=3, seed=1), every[:, :4])
    assert (sample_pairs(sampler, 6, 15, queries=3, seed=2) != every).any()


def test_either_image_of_a_pair_comes_first():
    drawn = sample_pairs("rr", 5, 1, queries=10_000, seed=0)[:, 0]
    assert abs((drawn[:, 0] < drawn[:, 1]).mean() - 0.5) < 0.025


def test_impossible_pairs_are_argument_errors():
    for arguments in (("best", 4, 1), ("rr", 4, 7), ("rr", 4, 0), ("uniform", 1, 1)):
        with pytest.raises(ArgumentError):
            sample_pairs(*arguments, queries=2)


def test_answers_both_ways_are_averaged_and_contradictions_become_ties():
    settled = settle(
        given_preferences(
            (0, 1, 2, 0.9),
            (0, 2, 1, 0.3),  # agrees: (0.9 + 0.7) / 2
            (0, 4, 3, 0.8),
            (0, 3, 4, 0.6),  # each order prefers the image shown first
            (7, 5, 6, 0.2),
        )
    )
    assert left(settled) == [(0, 1, 2, 0.8), (0, 3, 4, 0.5), (7, 5, 6, 0.2)]
    assert settled.counts() == {
        "answers": 5,
        "both_ways": 2,
        "contradictions": 1,
        "ties": 1,
        "cyclic_queries": 0,
        "dropped": 0,
    }


def test_a_probability_near_a_half_is_a_tie_and_stays():
    rows = [(0, 1, 2, 0.55), (0, 1, 3, 0.5), (0, 2, 3, 0.61)]
    settled = settle(given_preferences(*rows), tie_margin=0.1)
    assert left(settled) == [(0, 1, 2, 0.5), (0, 1, 3, 0.5), (0, 2, 3, 0.61)]
    assert settled.ties == 2
    assert settle(given_preferences(*rows)).ties == 1


def test_one_answer_of_a_tie_contradicts_nothing():
    settled = settle(given_preferences((0, 1, 2, 0.9), (0, 2, 1, 0.5)))
    assert left(settled) == [(0, 1, 2, 0.7)]
    assert settled.contradictions == 0


def test_a_circle_of_three_loses_its_weakest_preference():
    # 1 beats 2, 2 beats 3, 3 beats 1 by a hair; another query has the same images in a line.
    rows = [(0, 1, 2, 0.9), (0, 2, 3, 0.8), (0, 3, 1, 0.55), (1, 1, 2, 0.9), (1, 2, 3, 0.8), (1, 1, 3, 0.7)]
    settled = settle(given_preferences(*rows))
    assert left(settled) == [
        (0, 1, 2, 0.9),
        (0, 2, 3, 0.8),
        (1, 1, 2, 0.9),
        (1, 1, 3, 0.7),
        (1, 2, 3, 0.8),
    ]
    assert (settled.cyclic_queries, settled.dropped) == (1, 1)


def test_no_answers_settle_to_nothing():
    settled = settle(given_preferences())
    assert settled.counts() == dict.fromkeys(settled.counts(), 0)


def _has_circle(edges: list[tuple[int, int]]) -> bool:
    """Says so by taking away nodes that nobody beats until none is left or all are beaten."""
    nodes = {node for edge in edges for node in edge}
    while nodes:
        free = {node for node in nodes if not any(loser == node for _, loser in edges)}
        if not free:
            return True
        nodes -= free
        edges = [(winner, loser) for winner, loser in edges if winner in nodes and loser in nodes]
    return False


probabilities = st.sampled_from([0.0, 0.2, 0.4, 0.5, 0.6, 0.8, 1.0])


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.sampled_from(list(itertools.combinations(range(6), 2))), probabilities))
def test_what_is_left_has_no_circle_and_nothing_is_dropped_without_one(answers):
    rows = [(3, a, b, p) for (a, b), p in answers.items()]
    settled = settle(given_preferences(*rows))

    def edges(found):
        return [
            (a, b) if p > 0.5 else (b, a)
            for a, b, p in zip(found.first.tolist(), found.second.tolist(), found.probability.tolist(), strict=True)
            if p != 0.5
        ]

    before = [(a, b) if p > 0.5 else (b, a) for _, a, b, p in rows if p != 0.5]
    after = edges(settled.preferences)
    assert not _has_circle(after)
    assert set(after) <= set(before)
    assert (len(after) == len(before)) == (not _has_circle(before))
    assert settled.dropped == len(before) - len(after)
