"""Before asking: is the budget right, which questions are these, and what would they cost?"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from kdistill.console.progress import progress_bar
from kdistill.data.images import ImageSet, UnreadableImage
from kdistill.errors import ArgumentError
from kdistill.teachers.compound import CompoundQuestion
from kdistill.teachers.counted import counted
from kdistill.teachers.ledger.ledger import Ledger
from kdistill.teachers.ledger.records import ANSWERED, BAD, IN_FLIGHT, LEARNING
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
        spent: what the account has spent so far.
        skipped: (id, reason) of each image that cannot be read.
        account: who would pay.
        asks: content hashes of what would be asked now.
    """

    questions: int
    answered: int
    to_ask: int
    over_budget: int
    cost: float
    spent: int
    skipped: tuple[tuple[str, str], ...]
    account: str = LEARNING
    asks: frozenset[str] = frozenset()

    def __str__(self) -> str:
        text = "" if self.account == LEARNING else f"{self.account}: "
        text += (
            f"{counted(self.questions, 'question')}: {self.answered} already paid for, {self.to_ask} to ask "
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


def check_account_budget(account: str, budget: int | None, images: ImageSet) -> None:
    """Raises ArgumentError for a budget that an account cannot have; learning asks at most once about each image.

    The other accounts may have asked about other images before, so that theirs have no upper bound.
    """
    if budget is None:
        return
    if account != LEARNING:
        check_budget(budget, max(budget, 1))
    elif budget > len(images) and isinstance(images[0], CompoundQuestion):
        raise ArgumentError(f"the query budget is {budget}, but there are only {len(images)} questions to ask")
    else:
        check_budget(budget, len(images))


def plan(
    teacher: Teacher,
    images: ImageSet,
    indices: Sequence[int] | np.ndarray,
    ledger: Ledger | None,
    *,
    budget: int | None,
    price_per_query: float = 0.0,
    account: str = LEARNING,
    after: Sequence[Plan] = (),
) -> Plan:
    """Returns what `ask` would do, asking and writing nothing (a dry run).

    Arguments that are not explained are those of `ask`.

    Args:
        ledger: may be opened `read_only`; None where none exists yet.
        after: plans of what is asked before, for other accounts: what they ask is known then, and asked once.

    Raises:
        ArgumentError, KdistillError: as `ask`, as far as it shows without asking.
    """
    check_account_budget(account, budget, images)
    contents, skipped = question_contents(images, indices, strict=False)
    distinct = list(dict.fromkeys(contents.values()))
    states: dict[str, str] = {}
    spent = 0
    if ledger is not None:
        ledger.check(teacher.name, teacher.view, getattr(teacher, "dimension", None))
        states = ledger.states(distinct)
        spent = ledger.summary().account(account).spent
    before = frozenset[str]().union(*(earlier.asks for earlier in after))
    spent += sum(len(earlier.asks) for earlier in after if earlier.account == account)
    answered = sum(state == ANSWERED for state in states.values()) + len(before.intersection(distinct))
    open_ones = [
        content
        for content in distinct
        if content not in before and states.get(content) not in (ANSWERED, BAD, IN_FLIGHT)
    ]
    wanted = len(open_ones)
    to_ask = wanted if budget is None else min(wanted, max(0, budget - spent))
    return Plan(
        questions=len(distinct),
        answered=answered,
        to_ask=to_ask,
        over_budget=wanted - to_ask,
        cost=to_ask * price_per_query,
        spent=spent,
        skipped=tuple(skipped.items()),
        account=account,
        asks=frozenset(open_ones[:to_ask]),
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
