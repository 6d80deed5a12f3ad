"""How a student shrinks, to what, and in which phases of its training."""

import dataclasses

import keras

from kdistill.compression.cost import count_flops
from kdistill.compression.select import absolute
from kdistill.errors import ArgumentError
from kdistill.facts.joint_space import IMPORTANCES


@dataclasses.dataclass(frozen=True)
class Compaction:
    """How a student shrinks, and to what.

    Attributes:
        target_flops: multiply-adds of an image at the end: a share up to 1 of what the student has at its start, or a
            number above 1. 0 where the parameters decide.
        target_params: parameters at the end, likewise.
        shrink_from: share of the steps after which channels begin to go.
        shrink_until: share of the steps after which what is left trains on.
        channel_importance: "output", "neighbours" or "loss" (kdistill.compression.importance).
        channel_neighbours: of "neighbours", how many of each image count.
        channel_cost_power: of `choose`: 0 ranks channels by importance alone, 1 by importance for each cost saved.
        refit_readers: whether the readers of cut channels learn in closed form to give what they gave before.
    """

    target_flops: float = 0.0
    target_params: float = 0.0
    shrink_from: float = 0.25
    shrink_until: float = 0.6
    channel_importance: str = "output"
    channel_neighbours: int = 5
    channel_cost_power: float = 0.0
    refit_readers: bool = True

    def __post_init__(self) -> None:
        """Checks the arguments.

        Raises:
            ArgumentError: no target or two, shares that are not 0 < shrink_from < shrink_until < 1, an unknown
                importance, or no neighbours.
        """
        if bool(self.target_flops) == bool(self.target_params):
            raise ArgumentError(
                f"a student shrinks to one target: target_flops {self.target_flops} and target_params "
                f"{self.target_params} were given; one of them decides"
            )
        if not 0 < self.shrink_from < self.shrink_until < 1:
            raise ArgumentError(
                "shrink_from and shrink_until are shares of the steps, one after the other; "
                f"{self.shrink_from} and {self.shrink_until} were given"
            )
        if self.channel_importance not in IMPORTANCES:
            raise ArgumentError(
                f"channel_importance {self.channel_importance!r} is unknown; choose one of {', '.join(IMPORTANCES)}"
            )
        if self.channel_neighbours < 1:
            raise ArgumentError(f"channel_neighbours is at least 1; {self.channel_neighbours} was given")

    @property
    def unit(self) -> str:
        """Returns "flops" or "params"."""
        return "flops" if self.target_flops else "params"

    def target_of(self, student: keras.Model) -> int:
        """Returns the target as a number, for a student at its start.

        Raises:
            KdistillError: it is not below what the student costs already.
        """
        return absolute(self.target_flops or self.target_params, cost_of(student, self.unit), self.unit)


def cost_of(student: keras.Model, unit: str) -> int:
    """Returns a student's multiply-adds for an image ("flops") or its parameters ("params")."""
    return count_flops(student) if unit == "flops" else int(student.count_params())


@dataclasses.dataclass(frozen=True)
class Phase:
    """A part of the training: steps first .. last - 1 of those of the whole."""

    name: str
    first: int
    last: int


def phases_of(compaction: Compaction, steps: int) -> tuple[Phase, Phase, Phase]:
    """Returns the phases "large", "shrinking" and "small", shares of the steps and at least one step long each.

    Raises:
        ArgumentError: fewer than three steps.
    """
    if steps < 3:
        raise ArgumentError(f"a student that shrinks trains in three phases; {steps} steps are too few")
    first = min(max(1, round(steps * compaction.shrink_from)), steps - 2)
    second = min(max(first + 1, round(steps * compaction.shrink_until)), steps - 1)
    return Phase("large", 0, first), Phase("shrinking", first, second), Phase("small", second, steps)
