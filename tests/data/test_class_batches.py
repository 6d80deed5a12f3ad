"""Batches of P classes with K images each: what each holds, and that it depends on seed and step alone."""

import collections

import numpy as np
import pytest

from kdistill.data.class_batches import ClassBatches
from kdistill.data.pipeline import training_batches
from kdistill.errors import ArgumentError

UNEVEN = np.repeat(np.arange(9), [1, 2, 3, 4, 5, 7, 8, 9, 13])


def batches(known, first=0, last=12, seed=1, batch_size=8, **options):
    """Returns the places of the images of each batch, as training sees them."""
    pixels = np.zeros((len(known), 4, 4, 3), np.uint8)
    dataset = training_batches(
        pixels,
        np.arange(len(known)),
        batch_size=batch_size,
        image_size=4,
        first_step=first,
        last_step=last,
        seed=seed,
        augment=False,
        **options,
    )
    return [targets.numpy() for _, (targets, ids) in dataset if np.array_equal(targets, ids)]


def sizes(labels, batch) -> list[int]:
    """How many images of each class a batch has."""
    return sorted(collections.Counter(np.asarray(labels)[batch].tolist()).values())


@pytest.mark.parametrize(
    ("labels", "count"),
    [
        (np.tile(np.arange(6), 4), 4),
        (np.tile(np.arange(6), 9), 4),
        (np.array(["ant", "bee", "cow", "dog"] * 5), 4),
        (np.tile(np.arange(10), 3), 2),
        (np.tile([-1, 2**62, 0, 7], 8), 1),
    ],
)
def test_every_batch_is_of_p_classes_with_k_images_each(labels, count):
    size = 8 if count > 1 else 4
    found = batches(labels, labels=labels, images_a_class=count, batch_size=size)
    assert len(found) == 12
    for batch in found:
        assert len(set(batch.tolist())) == size
        assert sizes(labels, batch) == [count] * (size // count)


def test_no_image_twice_in_a_pass_and_all_of_them_in_time():
    classes = ClassBatches(UNEVEN, 4, 8)
    # 1 + 2 + 3 + 4 + 4 + 4 + 8 + 8 + 12 images, in batches of 8.
    assert (classes.steps_a_pass, classes.batch_size) == (5, 8)
    passes = [classes.rows_of_pass(np.random.default_rng((0, number))) for number in range(60)]
    assert all(len(set(rows.tolist())) == len(rows) == 40 for rows in passes)
    assert set(np.concatenate(passes).tolist()) == set(range(len(UNEVEN)))
    assert len({tuple(rows) for rows in passes}) == 60


def test_few_images_make_one_batch_of_all_that_are_used():
    labels = np.array([0, 0, 0, 0, 0, 1, 2, 2])
    for batch in batches(labels, labels=labels, images_a_class=4, batch_size=32):
        assert sizes(labels, batch) == [1, 2, 4]


def test_single_images_and_a_single_class_still_make_whole_batches():
    for labels in (np.arange(20), np.zeros(20, int)):
        found = batches(labels, labels=labels, images_a_class=4)
        assert all(len(set(batch.tolist())) == 8 for batch in found)


@pytest.mark.parametrize("first", [1, 4, 5, 7, 11])
def test_resuming_repeats_nothing(first):
    options = {"labels": UNEVEN, "images_a_class": 4}
    whole, rest = batches(UNEVEN, **options), batches(UNEVEN, first=first, **options)
    np.testing.assert_array_equal(rest, whole[first:])
    assert not np.array_equal(batches(UNEVEN, seed=2, **options), whole)


def test_the_parts_of_all_replicas_are_the_whole_batches():
    options = {"labels": UNEVEN, "images_a_class": 4}
    parts = batches(UNEVEN, **options, replicas=2, part=range(2))
    np.testing.assert_array_equal(np.reshape(parts, (12, 8)), batches(UNEVEN, **options))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"images_a_class": 4}, "need a label for each of 52 images; none given"),
        ({"labels": UNEVEN[1:], "images_a_class": 4}, "a label for each of 52 images; 51 given"),
        ({"labels": UNEVEN, "images_a_class": 3}, "a batch of 8 images cannot be cut into classes of 3 images"),
        ({"labels": UNEVEN, "images_a_class": 0}, "at least 1; 0 was given"),
        ({"labels": UNEVEN, "images_a_class": 2.0}, "a whole number of at least 1; 2.0 was given"),
        ({"labels": UNEVEN[:, None], "images_a_class": 4}, r"an array of shape \[52, 1\] was given"),
    ],
)
def test_what_cannot_be_is_told_in_a_sentence(options, message):
    with pytest.raises(ArgumentError, match=message):
        batches(UNEVEN, **options)
