"""Before asking: is the budget right, which questions are these, and what would they cost?"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from kdistill.console.progress import progress_bar
from kdistill.data.images import ImageSet, UnreadableImage
from kdistill.errors import ArgumentError
from kdistill.teachers.ledger.ledger import Ledger
from kdistill.teachers.ledger.records import ANSWERED, BAD, IN_FLIGHT
from kdistill.teachers.teacher import Teacher


@dataclasses.dataclass(frozen=True)
class Plan:
    """What `ask` would do.

    Attributes:
        questions: images of distinct content among those given.
        answered: how many of these are already paid for.
        to_ask: how many would be asked now.
        over_budget: how many would stay unanswered.
        cost: price of `to_ask` in the user's currency.
        spent: what the ledger has spent so far.
        skipped: (id, reason) of each image that cannot be read.
    """

    questions: int
    answered: int
    to_ask: int
    over_budget: int
    cost: float
    spent: int
    skipped: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        text = (
            f"{self.questions} questions: {self.answered} already paid for, {self.to_ask} to ask "
            f"at a cost of {self.cost:.2f}"
        )
        if self.over_budget:
            text += f", {self.over_budget} beyond the budget"
        return text + f" ({self.spent} spent so far)"


def check_budget(budget: int, pool_size: int) -> None:
    """Raises ArgumentError unless 1 <= budget <= pool_size."""
    if budget < 1:
        raise ArgumentError(f"the query budget is {budget}; it must be at least 1")
    if budget > pool_size:
        raise ArgumentError(f"the query budget is {budget}, but there are only {pool_size} images to ask about")


def plan(
    teacher: Teacher,
    images: ImageSet,
    indices: Sequence[int] | np.ndarray,
    ledger: Ledger | None,
    *,
    budget: int,
    price_per_query: float = 0.0,
) -> Plan:
    """Returns what `ask` would do, asking and writing nothing (a dry run); `ledger` is None where none exists yet.

    Raises:
        ArgumentError, KdistillError: as `ask`, as far as it shows without asking.
    """
    check_budget(budget, len(images))
    contents, skipped = question_contents(images, indices, strict=False)
    distinct = set(contents.values())
    states: dict[str, str] = {}
    spent = 0
    if ledger is not None:
        ledger.check(teacher.name, teacher.view, getattr(teacher, "dimension", None))
        states = ledger.states(distinct)
        spent = ledger.summary().spent
    answered = sum(state == ANSWERED for state in states.values())
    wanted = len(distinct) - sum(state in (ANSWERED, BAD, IN_FLIGHT) for state in states.values())
    to_ask = min(wanted, max(0, budget - spent))
    return Plan(
        questions=len(distinct),
        answered=answered,
        to_ask=to_ask,
        over_budget=wanted - to_ask,
        cost=to_ask * price_per_query,
        spent=spent,
        skipped=tuple(skipped.items()),
    )


def question_contents(
    images: ImageSet, indices: Sequence[int] | np.ndarray, *, strict: bool
) -> tuple[dict[int, str], dict[str, str]]:
    """Returns index -> content hash, and id -> reason of the images that cannot be read."""
    positions = [int(index) for index in indices]
    if not positions:
        raise ArgumentError("no image was chosen to ask about")
    if len(set(positions)) != len(positions):
        raise ArgumentError("an image stands twice among those to ask about")
    if min(positions) < 0 or max(positions) >= len(images):
        raise ArgumentError(f"the images to ask about must be numbered 0 to {len(images) - 1}")
    contents: dict[int, str] = {}
    skipped: dict[str, str] = {}
    for index in progress_bar(positions, description="hashing"):
        try:
            contents[index] = images[index].content_hash()
        except UnreadableImage as error:
            if strict:
                raise
            skipped[images[index].id] = str(error)
    return contents, skipped
