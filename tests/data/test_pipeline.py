"""The training pipeline: what a step sees depends on the seed and the step alone."""

import numpy as np
import pytest

from kdistill.data.pipeline import changed_views, small_seed, training_batches
from kdistill.errors import ArgumentError

PIXELS = np.random.default_rng(0).integers(0, 256, (10, 20, 24, 3), np.uint8)
TARGETS = np.arange(10, dtype=np.float32)[:, None]


def _batches(first=0, last=9, seed=1, augment=False, batch_size=4, pixels=PIXELS, image_size=16):
    dataset = training_batches(
        pixels,
        TARGETS[: len(pixels)],
        batch_size=batch_size,
        image_size=image_size,
        first_step=first,
        last_step=last,
        seed=seed,
        augment=augment,
    )
    return [(images.numpy(), targets.numpy()) for images, (targets, _) in dataset]


@pytest.mark.parametrize("augment", [False, True])
def test_resuming_repeats_nothing(augment):
    whole, rest = _batches(augment=augment), _batches(first=5, augment=augment)
    assert len(whole) == 9
    assert len(rest) == 4
    for (images, targets), (again, targets_again) in zip(whole[5:], rest, strict=True):
        np.testing.assert_array_equal(images, again)
        np.testing.assert_array_equal(targets, targets_again)


def test_no_image_twice_in_a_pass():
    steps = [targets[:, 0] for _, targets in _batches()]
    for first in range(0, 8, 2):  # two batches of 4 a pass over 10 images
        seen = np.concatenate(steps[first : first + 2])
        assert len(set(seen)) == 8
    assert len({tuple(step) for step in steps}) == 9  # every pass has an order of its own


def test_few_images_make_one_batch_of_all():
    for images, targets in _batches(pixels=PIXELS[:3], last=4):
        assert images.shape == (3, 16, 16, 3)
        assert sorted(targets[:, 0]) == [0, 1, 2]


def test_plain_images_of_the_right_size_are_untouched():
    pixels = PIXELS[:, :16, :16]
    for images, targets in _batches(pixels=pixels, last=2):
        np.testing.assert_array_equal(images, pixels[targets[:, 0].astype(int)])


def test_views_differ_between_steps_and_seeds_and_stay_recognisable():
    flat = np.full((4, 20, 20, 3), 100, np.uint8)
    first, second = _batches(pixels=flat, augment=True, last=2)
    assert first[0].dtype == np.uint8
    assert not np.array_equal(first[0], second[0])
    assert not np.array_equal(first[0], _batches(pixels=flat, augment=True, last=1, seed=2)[0][0])
    # Of a flat image only the brightness can change, by at most 20 % (and half a grey level of rounding).
    assert first[0].min() >= 79
    assert first[0].max() <= 121


@pytest.mark.parametrize("augment", [False, True])
def test_the_parts_of_all_replicas_are_the_whole_batches(augment):
    whole = _batches(first=1, last=6, augment=augment)
    options = {"first_step": 1, "last_step": 6, "seed": 1, "augment": augment, "batch_size": 4, "image_size": 16}
    workers = [
        list(training_batches(PIXELS, TARGETS, **options, replicas=4, part=part)) for part in (range(1), range(1, 4))
    ]
    for step, (images, targets) in enumerate(whole):
        parts = [workers[0][step], *workers[1][3 * step : 3 * step + 3]]
        np.testing.assert_array_equal(np.concatenate([part[0] for part in parts]), images)
        np.testing.assert_array_equal(np.concatenate([part[1][0] for part in parts]), targets)
        # The targets are the places of the images, and so are their ids.
        np.testing.assert_array_equal(np.concatenate([part[1][1] for part in parts]), targets[:, 0])


def test_a_batch_that_the_replicas_cannot_share_is_refused():
    with pytest.raises(ArgumentError, match="a batch of 4 images cannot be cut into 3 equal parts"):
        training_batches(
            PIXELS, TARGETS, batch_size=4, image_size=16, first_step=0, last_step=1, seed=0, augment=False, replicas=3
        )


@pytest.mark.parametrize(
    "seed", [2**31, *(pytest.param(seed, marks=pytest.mark.long) for seed in (2**32, 2**63, 2**64)), 10**30]
)
def test_seeds_of_any_size_give_views_of_their_own(seed):
    pixels = np.random.default_rng(0).integers(0, 256, (6, 12, 12, 3), np.uint8)

    def views(seed):
        options = {"batch_size": 6, "image_size": 8, "first_step": 0, "last_step": 1, "augment": True}
        (batch,) = training_batches(pixels, np.zeros((6, 2), np.float32), seed=seed, **options)
        (changed,) = changed_views(pixels, 8, 1, seed=seed)
        return np.concatenate([batch[0].numpy(), changed])

    np.testing.assert_array_equal(views(seed), views(seed))
    assert (views(seed) != views(seed + 1)).any()
    assert small_seed(2**31 - 1) == 2**31 - 1
    assert 0 <= small_seed(seed) < 2**31
