"""Settings of a student that shrinks while it learns."""

import dataclasses
from typing import Literal

from kdistill.settings.setting import setting


@dataclasses.dataclass(frozen=True)
class CompactionSettings:
    """The target of a student that starts large, and how it gets there."""

    target_flops: float = setting(
        0.0,
        "Shrink the student, while it learns, to this many multiply-adds an image, or to this share of them (up to 1); "
        "0 leaves its size.",
        low=0,
    )
    target_params: float = setting(0.0, "The same for its number of weights.", low=0)
    shrink_from: float = setting(0.25, "Share of the steps after which the student begins to shrink.", above=0, high=1)
    shrink_until: float = setting(0.6, "Share of the steps after which it has its size.", above=0, high=1)
    channel_importance: Literal["output", "neighbours", "loss"] = setting(
        "output",
        "What keeps a channel: output (its reader gives less without it), neighbours (it makes the teacher's "
        "neighbours alike) or loss (without it, the loss would change).",
    )
    channel_neighbours: int = setting(5, "neighbours: how many of each image count.", low=1)
    channel_cost_power: float = setting(
        0.0, "0: the least important channels go first; 1: the least important for what they cost.", low=0, high=10
    )
    refit_readers: bool = setting(
        True, "When channels are cut, fit the layers that read them to give what they gave before."
    )
