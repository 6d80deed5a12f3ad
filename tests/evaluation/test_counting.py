"""Ranks by counting against a full stable sort, ties included."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from kdistill.evaluation import ranks as ranks_module
from kdistill.evaluation.counting import count_before
from kdistill.evaluation.ranks import ranks_of
from kdistill.evaluation.similarity import Plan


def sorted_ranks(scores: np.ndarray) -> np.ndarray:
    ranks = np.empty(len(scores), np.int64)
    ranks[np.argsort(-scores, kind="stable")] = np.arange(len(scores))
    return ranks


@given(
    hnp.arrays(np.float32, st.integers(1, 60), elements=st.integers(-3, 3)),
    st.integers(1, 20),
)
def test_counts_over_chunks_equal_a_stable_sort(scores, size):
    columns = np.arange(len(scores))
    total = np.zeros(len(scores), np.int64)
    for start in range(0, len(scores), size):
        chunk = scores[start : start + size]
        total += count_before(chunk, np.sort(chunk), start, scores, columns)
    np.testing.assert_array_equal(total, sorted_ranks(scores))


def test_minus_infinity_takes_no_part():
    scores = np.array([0.5, -np.inf, 0.5, 0.9], np.float32)
    counts = count_before(scores, np.sort(scores), 0, np.array([0.5], np.float32), np.array([2]))
    assert counts.tolist() == [2]


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
    for block_rows, workers, chunk in ((90, 1, 8192), (90, 1, 16), (7, 2, 3), (1, 3, 8192)):
        monkeypatch.setattr(ranks_module, "CHUNK", chunk)
        cut = Plan(query_rows=4, block_rows=block_rows, workers=workers)
        ranks = ranks_of(queries, gallery, rows, columns, cut, exclude=exclude, similarity="dot")
        keep = columns != exclude[rows]
        np.testing.assert_array_equal(ranks[keep], np.concatenate(expected)[keep])
