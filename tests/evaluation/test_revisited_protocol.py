"""The revisited protocol: golden figures of the reference, random ground truths, distractors, memory mapping."""

import json
from pathlib import Path

import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdistill.data.layouts.revisited_truth import GRADES, RevisitedTruth
from kdistill.errors import KdistillError
from kdistill.evaluation import StackedRows, evaluate_revisited, measures
from kdistill.evaluation.blockwise.blocks import BlockReader, release_pages
from kdistill.evaluation.revisited import LEVELS, level_ranks

KS = (1, 5, 10)


@pytest.fixture(scope="module")
def golden():
    content = json.loads((Path(__file__).parent / "golden_revisited.json").read_text())
    return content | {"truth": RevisitedTruth(*(tuple(q[grade] for q in content["gnd"]) for grade in GRADES))}


@pytest.mark.parametrize("level", LEVELS)
def test_golden_average_precisions(golden, level):
    for query, order in enumerate(golden["ranks"]):
        ranks = np.argsort(order)[golden["truth"].labelled(query)]
        found = level_ranks(golden["truth"], query, ranks, level)
        expected = golden["expected"][level]["aps"][query]
        if expected is None:
            assert not len(found)
        else:
            assert measures.average_precision_trapezoid(found) == pytest.approx(expected, abs=1e-12)


def test_golden_means_through_embeddings(golden):
    """Embeddings that produce the golden rankings: a query's own axis holds minus the rank."""
    gallery = -np.argsort(np.array(golden["ranks"]), axis=1).T
    queries = np.eye(len(golden["ranks"]))
    figures = evaluate_revisited(queries, gallery, golden["truth"], ks=KS, similarity="dot").as_dict()
    for level, expected in golden["expected"].items():
        assert figures[f"map_{level}"] == pytest.approx(expected["map"], abs=1e-12)
        for k in KS:
            assert figures[f"mp_at_{k}_{level}"] == pytest.approx(expected["mp_at_k"][str(k)], abs=1e-12)
    assert figures["map"] == figures["map_medium"]


def random_case(seed: int) -> tuple[np.ndarray, np.ndarray, RevisitedTruth]:
    """Integer embeddings (exact products, many ties) and a ground truth with empty grades here and there."""
    random = np.random.default_rng(seed)
    rows, queries = int(random.integers(3, 50)), 2
    grades = random.choice(4, (queries, rows), p=(0.15, 0.15, 0.15, 0.55))
    lists = (tuple(np.flatnonzero(row == grade) for row in grades) for grade in range(3))
    return random.integers(-2, 3, (queries, 3)), random.integers(-2, 3, (rows, 3)), RevisitedTruth(*lists)


@pytest.mark.long
@given(st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=1000)
def test_random_ground_truths_equal_a_naive_loop(seed):
    queries, gallery, truth = random_case(seed)
    expected: dict[str, list[float]] = {}
    for query, point in enumerate(queries):
        ranked = list(naive.ranking(gallery @ point))
        for level, (positives, junk) in LEVELS.items():
            sets = [{int(i) for grade in grades for i in getattr(truth, grade)[query]} for grades in (positives, junk)]
            for name, value in (naive.revisited(ranked, *sets, KS) or {}).items():
                expected.setdefault(f"{name}_{level}", []).append(value)
    if "map_medium" not in expected:
        with pytest.raises(KdistillError, match="no query of the ground truth has a positive"):
            evaluate_revisited(queries, gallery, truth, similarity="dot")
        return
    figures = evaluate_revisited(queries, gallery, truth, ks=KS, similarity="dot").as_dict()
    for name, values in expected.items():
        assert figures[name] == pytest.approx(np.mean(values), abs=1e-12)
    assert {f"map_{level}" for level in LEVELS if f"map_{level}" in figures} == {n for n in expected if "map" in n}


def test_distractors_in_a_mapped_file_follow_the_gallery(tmp_path):
    queries, gallery, truth = random_case(5)
    distractors = np.random.default_rng(0).integers(-2, 3, (400, 3)).astype(np.float32)
    np.save(tmp_path / "distractors.npy", distractors)
    stacked = StackedRows([gallery.astype(np.float32), np.load(tmp_path / "distractors.npy", mmap_mode="r")])
    together = np.concatenate([gallery, distractors])
    split = evaluate_revisited(queries, stacked, truth, similarity="dot", teacher=(queries, stacked))
    whole = evaluate_revisited(queries, together, truth, similarity="dot", teacher=(queries, together))
    assert split.as_dict() == whole.as_dict()
    assert split.map <= evaluate_revisited(queries, gallery, truth, similarity="dot").map


def test_released_pages_still_hold_their_rows(tmp_path):
    rows = np.random.default_rng(0).random((5000, 3), np.float32)
    np.save(tmp_path / "rows.npy", rows)
    for mode in ("r", "c"):
        mapped = np.load(tmp_path / "rows.npy", mmap_mode=mode)
        if mode == "c":
            mapped[17] = 5
        release_pages(mapped[10:], 3, 4000)
        # A copy-on-write mapping keeps its changes.
        np.testing.assert_array_equal(mapped[17], rows[17] if mode == "r" else [5, 5, 5])
        np.testing.assert_array_equal(mapped[18:], rows[18:])


def test_counts_and_indices_must_fit():
    truth = RevisitedTruth(([0],), ([1],), ([],))
    with pytest.raises(KdistillError, match="has 1 queries, and 2 were embedded"):
        evaluate_revisited(np.ones((2, 2)), np.ones((4, 2)), truth)
    with pytest.raises(KdistillError, match="names the image 1, and the gallery has 1"):
        evaluate_revisited(np.ones((1, 2)), np.ones((1, 2)), truth)


def test_a_level_without_queries_has_no_figures():
    truth = RevisitedTruth(([0],), ([],), ([1],))
    figures = evaluate_revisited(np.ones((1, 2)), np.ones((3, 2)), truth).as_dict()
    assert "map_hard" not in figures
    assert figures["map_easy"] == 1.0


def test_blocks_of_a_mapped_file_are_its_rows(tmp_path):
    matrix = np.random.default_rng(0).normal(size=(5000, 7)).astype(np.float32)
    np.save(tmp_path / "gallery.npy", matrix)
    mapped = np.load(tmp_path / "gallery.npy", mmap_mode="r")
    for view, expected in ((mapped, matrix), (mapped[1234:4321], matrix[1234:4321])):
        reader = BlockReader(view)
        assert reader._descriptor is not None
        for start in range(0, len(expected), 900):
            np.testing.assert_array_equal(reader.rows(start, start + 900), expected[start : start + 900])
        reader.close()
        np.testing.assert_array_equal(reader.rows(3, 9), expected[3:9])


def test_a_file_that_was_replaced_is_not_read(tmp_path):
    matrix = np.random.default_rng(0).normal(size=(50, 7)).astype(np.float32)
    np.save(tmp_path / "gallery.npy", matrix)
    mapped = np.load(tmp_path / "gallery.npy", mmap_mode="r")
    np.save(tmp_path / "other.npy", matrix + 1)
    (tmp_path / "other.npy").replace(tmp_path / "gallery.npy")
    reader = BlockReader(mapped)
    np.testing.assert_array_equal(reader.rows(0, 50), matrix)
