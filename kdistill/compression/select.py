"""Which channels go first, so that a target is met: the least important for what they cost."""

from collections.abc import Mapping

import numpy as np

from kdistill.compression.cost import CostModel
from kdistill.errors import KdistillError

LEAST = 4
"""Channels that every path keeps."""


def choose(
    importance: Mapping[str, np.ndarray],
    kept: Mapping[str, np.ndarray],
    cost: CostModel,
    target: int,
    cost_power: float,
) -> dict[str, np.ndarray]:
    """Returns for each path which channels stay, bool [C], so that the cost is at most `target`.

    One channel goes after another: of the least important one of each path, that with the smallest importance divided
    by what its removal saves to the power of `cost_power`. Channels that are gone stay gone.

    Args:
        importance: producer of a path -> float [C], at least 0, comparable between paths.
        kept: producer -> bool [C], the channels that are still there.
        cost: of the student.
        target: the cost to reach, in the unit of `cost`.
        cost_power: 0 ranks channels by importance alone, 1 by importance for each multiply-add (or parameter) saved.

    Raises:
        KdistillError: the target is below what the smallest student costs.
    """
    stays = {name: np.array(mask, bool) for name, mask in kept.items()}
    counts = {name: int(mask.sum()) for name, mask in stays.items()}
    smallest = cost.total({name: min(LEAST, count) for name, count in counts.items()})
    if target < smallest:
        raise KdistillError(
            f"a target of {target:,} cannot be met: with {LEAST} channels behind each convolution that can be "
            f"compressed, the student still costs {smallest:,}; start from a smaller one (--alpha, --image_size)"
        )
    queues = {name: [int(c) for c in np.argsort(importance[name], kind="stable") if stays[name][c]] for name in stays}
    total = cost.total(counts)
    while total > target:
        open_paths = [name for name in queues if counts[name] > LEAST]
        savings = {name: cost.saving(counts, name) for name in open_paths}
        worst = min(open_paths, key=lambda name: importance[name][queues[name][0]] / savings[name] ** cost_power)
        stays[worst][queues[worst].pop(0)] = False
        counts[worst] -= 1
        total -= savings[worst]
    return stays


def absolute(target: float, now: int, unit: str) -> int:
    """Returns a target as a number: one of at most 1 is a share of what the student costs now.

    Raises:
        KdistillError: the target is not above 0, or not below what the student costs already.
    """
    if target <= 0 or (target > 1 and target != int(target)):
        raise KdistillError(f"--target_{unit} takes a share up to 1 or a whole number above it; {target} was given")
    wanted = int(target * now) if target <= 1 else int(target)
    if wanted > now:
        raise KdistillError(f"--target_{unit}={target:,} is above the {now:,} of the student at its start")
    return wanted
