"""The search of codes by an embedding, against values by hand and plain products."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive import average_precision

from kdistill.errors import ArgumentError, KdistillError
from kdistill.evaluation import evaluate_leave_one_out
from kdistill.hashing import asymmetric
from kdistill.hashing.asymmetric import asymmetric_neighbours, asymmetric_scores
from kdistill.hashing.codes import pack_codes, unpack_codes
from kdistill.hashing.hamming import hamming_distances
from kdistill.hashing.scores import evaluate_codes

few = settings(max_examples=25, deadline=None)
cases = st.tuples(st.integers(0, 2**32 - 1), st.integers(2, 40), st.sampled_from([8, 16, 24, 32, 64, 128]))


def draw(case: tuple[int, int, int]) -> tuple[np.random.Generator, np.ndarray]:
    """Rows [n, K] near few centres, so that codes repeat."""
    seed, count, bits = case
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(3, bits))
    return rng, centres[rng.integers(0, 3, count)] + 0.3 * rng.normal(size=(count, bits))


def test_scores_by_hand():
    query = np.array([3.0, -1.0, 0, 0, 0, 0, 0, 2.0])
    codes = np.array([[0b10000001], [0b00000000], [0b11000000]], np.uint8)
    # (3 + 1 + 2), (-3 + 1 - 2) and (3 - 1 - 2), over |q| = sqrt(14) and the root of 8 bits.
    expected = np.array([6, -4, 0]) / np.sqrt(14 * 8)
    np.testing.assert_allclose(asymmetric_scores(query, codes), expected, atol=1e-7)


@few
@given(case=cases)
def test_scores_are_cosines_with_the_signs(case):
    rng, rows = draw(case)
    codes, query = pack_codes(rows), rng.normal(size=rows.shape[1])
    signs = unpack_codes(codes).astype(float)
    expected = signs @ query / np.linalg.norm(query) / np.sqrt(rows.shape[1])
    np.testing.assert_allclose(asymmetric_scores(query, codes), expected, atol=1e-6)


@few
@given(case=cases)
def test_a_query_of_signs_gives_the_hamming_distance(case):
    _, rows = draw(case)
    codes, bits = pack_codes(rows), rows.shape[1]
    distances = hamming_distances(codes[0], codes)
    scores = asymmetric_scores(unpack_codes(codes)[0], codes)
    np.testing.assert_array_equal(np.rint((1 - scores) * bits / 2), distances)


@pytest.mark.parametrize("block_rows", [3, 2**17])
@few
@given(case=cases, k=st.integers(1, 50), leave_out=st.booleans())
def test_neighbours_are_those_of_a_stable_sort(block_rows, case, k, leave_out):
    rng, rows = draw(case)
    codes, numbers = pack_codes(rows), rng.integers(0, len(rows), 3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asymmetric, "BLOCK_ROWS", block_rows)
        patch.setattr(asymmetric, "RUN_ROWS", block_rows)
        scores, found = asymmetric_neighbours(rows[numbers], codes, k, exclude=numbers if leave_out else None)
    for place, query in enumerate(numbers):
        every = asymmetric_scores(rows[query], codes)
        order = sorted((-score, row) for row, score in enumerate(every) if not (leave_out and row == query))[:k]
        assert list(zip(-scores[place], found[place].tolist(), strict=True)) == order


@few
@given(case=cases)
def test_a_row_finds_no_code_nearer_than_its_own(case):
    _, rows = draw(case)
    codes = pack_codes(rows)
    scores, found = asymmetric_neighbours(rows, codes, 1)
    np.testing.assert_array_equal(codes[found[:, 0]], codes)
    norms = np.linalg.norm(rows, axis=1) * np.sqrt(rows.shape[1])
    np.testing.assert_allclose(scores[:, 0], np.abs(rows).sum(axis=1) / norms, atol=1e-6)


def test_precision_by_hand_with_a_tie():
    # The first image scores the codes of the others 1, 1 and -1 times 8 / 8: a positive and a negative tie in front.
    embeddings = np.array([[1.0] * 8, [2.0] * 8, [3.0] * 8, [-1.0] * 8])
    scores = evaluate_codes(pack_codes(embeddings), np.array([0, 0, 1, 2]), queries=embeddings)
    assert scores.queries == 2
    # Either order of the tie, 1 and 1 / 2; the lower row first gives 1 for the first query and for the second.
    assert scores.details["map_expected"] == pytest.approx((1 + 1 / 2) / 2)
    assert scores.map == pytest.approx(1.0)


@few
@given(case=cases)
def test_scores_of_a_gallery_are_those_of_plain_vectors(case):
    rng, rows = draw(case)
    labels = rng.integers(0, 3, len(rows))
    if np.bincount(labels).max() < 2:
        return
    scores = evaluate_codes(pack_codes(rows), labels, queries=rows).as_dict()
    signs = unpack_codes(pack_codes(rows)).astype(np.float32)
    precisions = []
    for query in range(len(rows)):
        others = np.delete(np.arange(len(rows)), query)
        order = others[np.argsort(-asymmetric_scores(rows[query], pack_codes(rows))[others], kind="stable")]
        if (labels[others] == labels[query]).any():
            precisions.append(average_precision((labels[order] == labels[query]).tolist()))
    assert scores["map"] == pytest.approx(np.mean(precisions))
    assert evaluate_leave_one_out(signs, labels, queries=rows.astype(np.float32)).queries == len(precisions)


@pytest.mark.parametrize("query", [np.zeros(8), np.full(8, np.nan), np.ones(16), np.ones((1, 8))])
def test_queries_without_a_cosine_are_refused(query):
    with pytest.raises(KdistillError, match="the query"):
        asymmetric_scores(query, np.zeros((2, 1), np.uint8))


def test_a_search_for_nothing_is_refused():
    with pytest.raises(ArgumentError, match="at least one neighbour"):
        asymmetric_neighbours(np.ones((1, 8)), np.zeros((1, 1), np.uint8), 1, exclude=np.array([0]))
    with pytest.raises(KdistillError, match="2 codes were given with 1 queries"):
        evaluate_codes(np.zeros((2, 1), np.uint8), np.zeros(2), queries=np.ones((1, 8)))
