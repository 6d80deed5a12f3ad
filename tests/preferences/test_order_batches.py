"""Batches of lists: which images, in which places, and that a resumed run sees the same."""

import numpy as np
import pytest

from kdistill.errors import ArgumentError
from kdistill.preferences.order_batches import order_batches

PIXELS = np.arange(30, dtype=np.uint8)[:, None, None, None] * np.ones((1, 8, 8, 3), np.uint8)
LISTS = np.random.default_rng(0).permutation(30).reshape(5, 6)


def images_of(first_step, last_step, **options):
    settings = {"batch_size": 8, "image_size": 8, "seed": 3, "augment": False} | options
    batches = order_batches(PIXELS, LISTS, first_step=first_step, last_step=last_step, **settings)
    return [(pixels.numpy()[:, 0, 0, 0], places.numpy()) for pixels, places in batches]


def test_every_batch_holds_parts_of_orders_in_their_order():
    seen = []
    batches = images_of(0, 5)
    assert len(batches) == 5
    for rows, places in batches:
        assert places.tolist() == [0, 1, 2, 3] * 2
        for part in rows.reshape(2, 4).tolist():
            (source,) = [one.tolist() for one in LISTS if one[0] == part[0]]
            assert part[1:] == [image for image in source[1:] if image in part[1:]]
            seen.append(part[0])
    # Ten lists are two passes over five.
    assert sorted(seen[:5]) == sorted(seen[5:]) == sorted(LISTS[:, 0].tolist())


def test_a_resumed_run_sees_the_same():
    for mine, other in zip(images_of(2, 5), images_of(0, 5)[2:], strict=True):
        np.testing.assert_array_equal(mine[0], other[0])
    assert any((a[0] != b[0]).any() for a, b in zip(images_of(0, 5), images_of(0, 5, seed=4), strict=True))


def test_short_lists_make_smaller_batches():
    ((rows, places),) = images_of(0, 1, batch_size=64)
    assert places.tolist() == [0, 1, 2, 3, 4, 5] * 2
    assert {tuple(part) for part in rows.reshape(2, 6).tolist()} <= {tuple(one) for one in LISTS.tolist()}


def test_augmented_views_have_the_students_size():
    batches = order_batches(PIXELS, LISTS, batch_size=8, image_size=4, first_step=0, last_step=2, seed=0, augment=True)
    assert [pixels.shape for pixels, _ in batches] == [(8, 4, 4, 3)] * 2


def test_what_cannot_be_batched_is_said():
    with pytest.raises(ArgumentError, match="a query and at least 2 candidates"):
        images_of(0, 1, batch_size=5)
    with pytest.raises(ArgumentError, match="one device alone"):
        images_of(0, 1, replicas=2)
