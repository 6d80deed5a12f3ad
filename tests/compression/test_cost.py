"""Multiply-adds against the formula, by hand and for a published network."""

import numpy as np
import pytest

from kdistill import students
from kdistill.compression import CostModel, absolute, channel_paths, count_flops, insert_compactors
from kdistill.errors import KdistillError


def test_flops_of_a_small_network_by_hand():
    student = students.build("small_cnn", image_size=32, embedding_dim=10)
    # 32 -> 16 -> 8 -> 4 pixels a side; 3 -> 16 -> 32 -> 64 channels; then 64 -> 10.
    by_hand = 16 * 16 * 9 * 3 * 16 + 8 * 8 * 9 * 16 * 32 + 4 * 4 * 9 * 32 * 64 + 64 * 10
    assert count_flops(student) == by_hand
    assert count_flops(insert_compactors(student)) == by_hand + 16 * 16 * 16**2 + 8 * 8 * 32**2 + 4 * 4 * 64**2


def test_flops_of_mobilenet_v2_are_the_published_ones():
    """300 M multiply-adds at 224 pixels with 1,000 classes (Sandler et al., CVPR 2018, table 4)."""
    student = students.build("mobilenet_v2", image_size=224, embedding_dim=1000)
    assert count_flops(student) == pytest.approx(300e6, rel=0.01)


@pytest.mark.parametrize("unit", ["flops", "params"])
def test_saving_is_the_difference_of_totals(unit):
    student = students.build("mobilenet_v2", alpha=0.35, image_size=32)
    paths = channel_paths(student)
    cost = CostModel(student, paths, unit)
    rng = np.random.default_rng(0)
    kept = {path.producer: int(rng.integers(2, path.channels + 1)) for path in paths}
    for path in paths:
        less = {**kept, path.producer: kept[path.producer] - 1}
        assert cost.saving(kept, path.producer) == cost.total(kept) - cost.total(less) > 0


def test_targets_are_shares_or_whole_numbers():
    assert absolute(0.35, 1000, "flops") == 350
    assert absolute(350, 1000, "params") == 350
    assert absolute(1.0, 1000, "flops") == 1000
    for target in (0.0, -1.0, 1.5):
        with pytest.raises(KdistillError, match="--target_flops takes a share"):
            absolute(target, 1000, "flops")
    with pytest.raises(KdistillError, match="above the 1,000"):
        absolute(1001, 1000, "params")
