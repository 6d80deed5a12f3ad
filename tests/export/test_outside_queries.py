"""What the build judges an int8 search by: queries that are not rows, counted against a plain ranking."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from export.retriever.build import build_search
from export.retriever.client import Retriever
from export.retriever.gallery import build_gallery
from export.retriever.sidecar import read_sidecar
from export.retriever.update import read_retriever, update_retriever
from export.search.first_pass import MIN_RECALL, _rows_before
from export.search.outside_queries import MIN_GIVEN, outside_queries, true_neighbours
from export.search.recall_bound import Measured, lower_bound, measured_of
from kdistill.errors import KdistillError


def unit(points: np.ndarray) -> np.ndarray:
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)


def rows_of(count: int, dimension: int = 16, seed: int = 0) -> np.ndarray:
    return unit(np.random.default_rng(seed).normal(size=(count, dimension)))


def names(count: int) -> list[str]:
    return [str(row) for row in range(count)]


@pytest.fixture(scope="module")
def gallery() -> np.ndarray:
    return rows_of(900)


def test_queries_are_of_three_kinds_and_never_find_themselves(gallery):
    queries = outside_queries(gallery, gallery.T @ gallery / 900, 10)
    assert {kind for kind, _ in queries.judged()} == {"held_out", "perturbed", "unseen"}
    np.testing.assert_allclose(np.linalg.norm(queries.vectors, axis=1), 1, atol=1e-5)
    truth = true_neighbours(gallery, queries, 10)
    for number, vector in enumerate(queries.vectors):
        scores = gallery @ vector
        if queries.own[number] >= 0:
            scores[queries.own[number]] = -2
        ranked = np.argsort(-scores)
        hidden = queries.hidden[number]
        np.testing.assert_array_equal(truth.rows[number], ranked[hidden : hidden + 10])
        assert scores.max() < 1 - 1e-6  # a perturbed point is no row
    assert set(queries.hidden) == {0, 10}  # √900 / 3 nearest are hidden from the unseen


def test_enough_given_queries_take_the_place_of_the_unseen(gallery):
    moment = gallery.T @ gallery / 900
    many = outside_queries(gallery, moment, 5, rows_of(MIN_GIVEN, seed=3))
    assert {kind for kind, _ in many.judged()} == {"held_out", "perturbed", "given"}
    few = outside_queries(gallery, moment, 5, rows_of(MIN_GIVEN - 1, seed=3))
    assert {kind for kind, _ in few.judged()} == {"held_out", "perturbed", "unseen"}
    assert len(few.vectors) == len(outside_queries(gallery, moment, 5).vectors) + MIN_GIVEN - 1


def test_rows_before_a_neighbour_are_counted_as_by_sorting(gallery):
    queries = outside_queries(gallery, gallery.T @ gallery / 900, 4)
    truth = true_neighbours(gallery, queries, 4)
    before = _rows_before(gallery, np.zeros(16, np.float32), None, queries, truth, 10**6)
    scale = np.abs(gallery).max(axis=1, keepdims=True) / 127
    coded = np.rint(gallery / scale) * scale
    step = np.abs(queries.vectors).max(axis=1, keepdims=True) / 127
    scores = (np.rint(queries.vectors / step) * step) @ coded.T
    for number, found in enumerate(truth.rows):
        free = np.ones(900, bool)
        free[truth.hidden_rows[truth.hidden_queries == number]] = False
        for place, row in enumerate(found):
            assert before[number, place] == (scores[number, free] > scores[number, row] + 2e-6).sum()


@given(st.integers(2, 60), st.integers(1, 12), st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_a_bound_lies_below_what_was_seen(queries, k, seed):
    rng = np.random.default_rng(seed)
    shares = rng.integers(0, k + 1, queries) / k
    assert 0 <= lower_bound(shares, k) <= shares.mean() + 1e-9


def test_where_all_are_found_the_bound_is_that_of_clopper_and_pearson():
    bound = lower_bound(np.ones(128), 10)
    assert bound == pytest.approx(0.05 ** (1 / 1280))
    some = lower_bound(np.r_[np.zeros(1), np.ones(99)], 1)
    assert binom.sf(98, 100, some) <= 0.05 + 1e-6


def test_a_bound_holds_as_often_as_it_says():
    """Neighbours of a query are found or lost together: the bound of independent ones would hold less often."""
    rng = np.random.default_rng(1)
    held = [lower_bound(np.where(rng.random(128) < 0.05, 0.5, 1.0), 10) <= 0.975 for _ in range(200)]
    assert np.mean(held) > 0.9


@pytest.mark.parametrize("suffix", ["tflite", "onnx"])
def test_a_file_says_what_was_measured_and_an_update_keeps_it(suffix, gallery, tmp_path):
    path = tmp_path / f"r.{suffix}"
    build_search(gallery, names(900), path, k=10, precision="int8", queries=rows_of(150, seed=7))
    measured = read_sidecar(path).measured
    assert (measured.k, measured.rows) == (10, 900)
    assert measured.bound >= MIN_RECALL
    assert measured.kinds["given"]["queries"] == 150
    assert read_retriever(path)[1].measured == measured
    update_retriever(path, path, remove=["3"])
    assert read_sidecar(path).measured == measured
    build_search(gallery, names(900), path, k=10)
    assert read_sidecar(path).measured is None


def test_rows_that_codes_cannot_tell_apart_ask_for_a_longer_shortlist():
    """Score gaps in a narrow cone lie below the error of one code; with the second code the answers are right again."""
    rng = np.random.default_rng(3)
    near = unit(3 * rng.normal(size=32) + 0.02 * rng.normal(size=(3000, 32)))
    assert build_gallery(near, names(3000), "int8").shortlist(10) > 500
    assert build_gallery(rows_of(3000, 32), names(3000), "int8").shortlist(10) < 100


def test_shortlists_grow_with_k_and_with_the_rows():
    measured = Measured(k=10, rows=1000, shortlist=40, bound=0.99, confidence=0.95, kinds={})
    assert [measured.for_k(5, 1000), measured.for_k(10, 1000), measured.for_k(10, 4000)] == [20, 40, 80]
    assert measured.for_k(10, 30) == 30


@pytest.mark.parametrize("change", [{"k": 0}, {"rows": "9"}, {"bound": None}, {"kinds": 3}, {"extra": 1}])
def test_a_damaged_record_is_refused(change):
    content = dataclasses.asdict(Measured(k=10, rows=9, shortlist=9, bound=0.9, confidence=0.95, kinds={}))
    assert measured_of(content) == Measured(**content)
    with pytest.raises(ValueError, match="measured"):
        measured_of(content | change)


def test_given_queries_of_another_form_are_refused(gallery):
    with pytest.raises(KdistillError, match="queries, 16"):
        build_gallery(gallery, names(900), "int8", queries=rows_of(100, 8))
    with pytest.raises(KdistillError, match="query 0"):
        build_gallery(gallery, names(900), "int8", queries=2 * rows_of(100))


@pytest.mark.parametrize("rows", [1, 2, 9, 11, 40])
def test_the_smallest_galleries_find_all(rows, tmp_path):
    gallery, k = rows_of(rows), min(rows, 5)
    build_search(gallery, names(rows), tmp_path / "r.tflite", k=k, precision="int8")
    query = rows_of(1, seed=9)
    found = Retriever(tmp_path / "r.tflite").search_embeddings(query)[1][0]
    assert found.tolist() == np.argsort(-(gallery @ query[0]))[:k].tolist()
