"""Packed codes, the search in them and their scores, against plain counting and laws."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive import average_precision

from kdistill.errors import ArgumentError, KdistillError
from kdistill.evaluation import evaluate_leave_one_out
from kdistill.hashing import hamming
from kdistill.hashing.codes import pack_codes, unpack_codes
from kdistill.hashing.hamming import hamming_distances, hamming_neighbours
from kdistill.hashing.scores import evaluate_codes, expected_average_precision

few = settings(max_examples=25, deadline=None)
cases = st.tuples(st.integers(0, 2**32 - 1), st.integers(1, 40), st.sampled_from([8, 16, 24, 32, 64, 128, 264]))


def draw(case: tuple[int, int, int]) -> tuple[np.random.Generator, np.ndarray]:
    """Rows [n, K] near few centres, so that distances repeat."""
    seed, count, bits = case
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(3, bits))
    return rng, centres[rng.integers(0, 3, count)] + 0.3 * rng.normal(size=(count, bits))


def naive_distances(query: np.ndarray, rows: np.ndarray) -> list[int]:
    return [sum((a >= 0) != (b >= 0) for a, b in zip(query, row, strict=True)) for row in rows]


def test_bits_by_hand():
    rows = np.array([[1.0, -1.0, 0.0, -0.1, -1, -1, -1, 5.0], [-1.0] * 8])
    assert pack_codes(rows).tolist() == [[0b10100001], [0]]
    assert unpack_codes(np.array([[0b10100001]], np.uint8)).tolist() == [[1, -1, 1, -1, -1, -1, -1, 1]]


@few
@given(case=cases)
def test_unpacking_undoes_packing(case):
    _, rows = draw(case)
    signs = np.where(rows >= 0, 1, -1)
    np.testing.assert_array_equal(unpack_codes(pack_codes(rows)), signs)
    np.testing.assert_array_equal(pack_codes(signs), pack_codes(rows))


@few
@given(case=cases)
def test_inner_products_of_signs_are_bits_minus_twice_the_distance(case):
    _, rows = draw(case)
    codes = pack_codes(rows)
    signs = unpack_codes(codes).astype(int)
    for query in range(min(3, len(rows))):
        distances = hamming_distances(codes[query], codes).astype(int)
        np.testing.assert_array_equal(signs[query] @ signs.T, rows.shape[1] - 2 * distances)
        assert distances.tolist() == naive_distances(rows[query], rows)


@pytest.mark.parametrize("block_bytes", [24, 1000, 2**18])
@few
@given(case=cases, k=st.integers(1, 50), leave_out=st.booleans())
def test_neighbours_are_those_of_a_stable_sort(block_bytes, case, k, leave_out):
    rng, rows = draw(case)
    if leave_out and len(rows) == 1:
        return
    codes, queries = pack_codes(rows), rng.integers(0, len(rows), 3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hamming, "BLOCK_BYTES", block_bytes)
        distances, found = hamming_neighbours(codes[queries], codes, k, exclude=queries if leave_out else None)
    for place, query in enumerate(queries):
        naive = naive_distances(rows[query], rows)
        order = sorted((d, row) for row, d in enumerate(naive) if not (leave_out and row == query))[:k]
        assert list(zip(distances[place].tolist(), found[place].tolist(), strict=True)) == order


def test_a_mapped_gallery_is_searched_as_it_lies_in_its_file(tmp_path):
    _, rows = draw((0, 40, 64))
    codes = pack_codes(rows)
    np.save(tmp_path / "codes.npy", codes)
    mapped = np.load(tmp_path / "codes.npy", mmap_mode="r")
    np.testing.assert_array_equal(hamming_neighbours(codes, mapped, 5), hamming_neighbours(codes, codes, 5))


def test_counting_without_numpys_own_operator(monkeypatch):
    words = np.random.default_rng(0).integers(0, 2**63, 50, dtype=np.uint64)
    expected = [int(word).bit_count() for word in words]
    assert hamming.count_bits_by_table(words).tolist() == expected
    assert hamming.count_bits(words).tolist() == expected


@pytest.mark.parametrize(
    ("queries", "gallery", "message"),
    [
        (np.zeros((1, 8), np.uint8), np.zeros((3, 4), np.uint8), "64 bits, those of the gallery have 32"),
        (np.zeros((1, 8)), np.zeros((3, 8), np.uint8), "the queries are float64"),
        (np.zeros((1, 8), np.uint8), np.zeros((0, 8), np.uint8), "the gallery are uint8 of shape \\[0, 8\\]"),
    ],
)
def test_what_is_no_code_is_refused(queries, gallery, message):
    with pytest.raises(KdistillError, match=message):
        hamming_neighbours(queries, gallery, 1)
    with pytest.raises(ArgumentError):
        hamming_neighbours(np.zeros((1, 8), np.uint8), np.zeros((1, 8), np.uint8), 1, exclude=np.array([0]))


@pytest.mark.parametrize("rows", [np.zeros((2, 12)), np.zeros(8), np.full((2, 8), np.nan)])
def test_rows_without_a_code_are_refused(rows):
    with pytest.raises(KdistillError):
        pack_codes(rows)


@few
@given(case=cases)
def test_scores_are_those_of_the_signs_as_vectors(case):
    rng, rows = draw(case)
    labels = rng.integers(0, 3, len(rows))
    if np.bincount(labels).max() < 2:
        return
    scores = evaluate_codes(pack_codes(rows), labels)
    expected = evaluate_leave_one_out(unpack_codes(pack_codes(rows)), labels, similarity="dot")
    assert scores.queries == expected.queries
    for name in ("map", "recall_at_1", "map_at_r"):
        assert scores.as_dict()[name] == pytest.approx(expected.as_dict()[name], abs=1e-12)


@pytest.mark.parametrize(
    ("rows", "positives"), [([3], [1]), ([1, 4, 2], [0, 2, 1]), ([2, 0, 3], [1, 0, 3]), ([1, 2, 3], [1, 1])]
)
def test_expected_precision_is_the_mean_over_all_orders_of_ties(rows, positives):
    groups = []
    for count, right in itertools.zip_longest(rows, positives, fillvalue=0):
        one = [True] * right + [False] * (count - right)
        groups.append(sorted(set(itertools.permutations(one))))
    values = [average_precision(list(itertools.chain(*order))) for order in itertools.product(*groups)]
    assert expected_average_precision(np.array(rows), np.array(positives)) == pytest.approx(np.mean(values))


def test_codes_that_are_all_alike_score_as_chance_and_not_as_their_order():
    codes, labels = np.zeros((6, 1), np.uint8), np.array([0, 0, 0, 1, 1, 1])
    scores = evaluate_codes(codes, labels).as_dict()
    chance = expected_average_precision(np.array([5]), np.array([2]))
    assert scores["map_expected"] == pytest.approx(chance)
    # In this order of the gallery the first class finds itself first, the second one last.
    assert scores["map"] == pytest.approx((1 + (1 / 4 + 2 / 5) / 2) / 2)
