"""Answers that are paid for already come first: a pool or a choice that changed does not waste them."""

from collections.abc import Sequence

import numpy as np

from kdistill.data.images import ImageSet
from kdistill.errors import ArgumentError
from kdistill.teachers.choosing.planning import question_contents
from kdistill.teachers.ledger.ledger import Ledger
from kdistill.teachers.ledger.records import ANSWERED, JUDGING


def known_positions(images: ImageSet, ledger: Ledger, *, without: Sequence[str] = (JUDGING,)) -> np.ndarray:
    """Returns int64 [k], ascending: the images of the pool whose answers the ledger has.

    Images that cannot be read are left out; the pool's files are read only where the ledger has an answer at all.

    Args:
        images: the pool.
        ledger: may be opened `read_only`.
        without: accounts whose questions are left out, since what is judged by must not be learned from.
    """
    if not len(images) or not ledger.summary().answered:
        return np.zeros(0, np.int64)
    contents, _ = question_contents(images, range(len(images)), strict=False)
    hidden = set[str]().union(*(ledger.contents(account) for account in without))
    states = ledger.states(set(contents.values()))
    known = [index for index, content in contents.items() if states.get(content) == ANSWERED and content not in hidden]
    return np.asarray(known, np.int64)


def prefer_known(chosen: Sequence[int] | np.ndarray, known: Sequence[int] | np.ndarray, budget: int) -> np.ndarray:
    """Puts images with known answers before the chosen ones, which keep their order.

    Args:
        chosen: int [n], distinct positions in the order in which they are to be asked about.
        known: int [k], distinct positions whose answers are there.
        budget: images to learn from; known ones beyond it are left out, unless they are chosen.

    Returns:
        int64 [max(n, min(k, budget))], distinct: known images, those that are chosen first, then the other chosen ones,
        as many as were chosen in all. Without known images, what was chosen.

    Raises:
        ArgumentError: a budget below 1.
    """
    if budget < 1:
        raise ArgumentError(f"the query budget is {budget}; it must be at least 1")
    order = [int(position) for position in chosen]
    answered = {int(position): None for position in known}
    first = [position for position in order if position in answered]
    first += [position for position in answered if position not in set(order)]
    first = first[: max(budget, 0)]
    rest = [position for position in order if position not in set(first)]
    return np.asarray([*first, *rest][: max(len(order), len(first))], np.int64)
