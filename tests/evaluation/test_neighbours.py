"""Partial selection against a full stable sort."""

import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdistill.errors import ArgumentError
from kdistill.evaluation import nearest_neighbours
from kdistill.evaluation.blockwise import similarity as blocks


@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 30))
@settings(deadline=None, max_examples=40)
def test_neighbours_are_the_head_of_a_stable_sort(seed, k, block_rows):
    random = np.random.default_rng(seed)
    queries, gallery = random.integers(-2, 3, (3, 4)), random.integers(-2, 3, (40, 4))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "BLOCK_BYTES", 4 * 4 * block_rows)
        scores, indices = nearest_neighbours(queries, gallery, k, similarity="dot")
    for query, found, values in zip(queries, indices, scores, strict=True):
        expected = naive.ranking(gallery @ query)[:k]
        np.testing.assert_array_equal(found, expected)
        np.testing.assert_array_equal(values, (gallery @ query)[expected])


def test_the_excluded_row_is_never_found():
    rows = np.eye(4, dtype=np.float32)
    scores, indices = nearest_neighbours(rows, rows, 10, exclude=np.array([0, 1, 2, -1]))
    assert indices.shape == (4, 3)
    assert all(query not in found for query, found in enumerate(indices[:3]))
    assert indices[3, 0] == 3
    assert scores[3, 0] == 1.0


def test_no_neighbour_can_be_asked_for():
    with pytest.raises(ArgumentError):
        nearest_neighbours(np.ones((1, 2)), np.ones((1, 2)), 1, exclude=np.array([0]))
