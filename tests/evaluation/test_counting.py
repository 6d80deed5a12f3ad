"""Ranks by counting against a full stable sort, ties included."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from kdistill.evaluation.blockwise import counting, similarity
from kdistill.evaluation.blockwise.counting import Targets, count_before
from kdistill.evaluation.blockwise.ranks import ranks_of
from kdistill.evaluation.blockwise.similarity import Plan


def sorted_ranks(scores: np.ndarray) -> np.ndarray:
    ranks = np.empty(len(scores), np.int64)
    ranks[np.argsort(-scores, kind="stable")] = np.arange(len(scores))
    return ranks


@given(
    hnp.arrays(np.float32, st.tuples(st.integers(1, 3), st.integers(1, 60)), elements=st.integers(-3, 3)),
    st.integers(1, 20),
)
def test_counts_over_blocks_equal_a_stable_sort(scores, size):
    rows, columns = (index.ravel() for index in np.indices(scores.shape))
    targets = Targets(rows, columns, scores.ravel())
    total = np.zeros(scores.size, np.int64)
    for start in range(0, scores.shape[1], size):
        total[targets.order] += count_before(scores[:, start : start + size], start, targets)
    np.testing.assert_array_equal(total, np.concatenate([sorted_ranks(row) for row in scores]))


def test_minus_infinity_takes_no_part():
    scores = np.array([[0.5, -np.inf, 0.5, 0.9]], np.float32)
    targets = Targets(np.array([0]), np.array([2]), np.array([0.5], np.float32))
    assert count_before(scores, 0, targets).tolist() == [2]


def test_ranks_do_not_depend_on_the_blocks(monkeypatch):
    random = np.random.default_rng(0)
    # Small integers: products are exact, and ties are everywhere.
    queries, gallery = random.integers(-2, 3, (4, 6)), random.integers(-2, 3, (90, 6))
    rows, columns = np.repeat(np.arange(4), 90), np.tile(np.arange(90), 4)
    exclude = np.array([5, -1, 0, 89])
    expected = []
    for query, left_out in zip(queries, exclude, strict=True):
        scores = (gallery @ query).astype(np.float32)
        if left_out >= 0:
            scores[left_out] = -np.inf
        expected.append(sorted_ranks(scores))
    for block_rows, workers, chunk, piece in ((90, 1, 8192, 90), (90, 1, 16, 90), (7, 2, 3, 2), (1, 3, 8192, 90)):
        monkeypatch.setattr(counting, "CHUNK", chunk)
        monkeypatch.setattr(similarity, "PIECE_BYTES", 4 * 6 * piece)
        cut = Plan(query_rows=4, block_rows=block_rows, workers=workers)
        ranks = ranks_of(queries, gallery, rows, columns, cut, exclude=exclude, similarity="dot")
        keep = columns != exclude[rows]
        np.testing.assert_array_equal(ranks[keep], np.concatenate(expected)[keep])
