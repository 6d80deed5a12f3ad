"""The images that are asked about, by content, and what the ledger has about them in the end."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from kdistill.data.images import Image, ImageSet
from kdistill.errors import ArgumentError, KdistillError
from kdistill.teachers.choosing.planning import check_account_budget, question_contents
from kdistill.teachers.counted import counted
from kdistill.teachers.ledger.ledger import Ledger


@dataclasses.dataclass(frozen=True)
class Answers:
    """What the teacher said about the images that were asked for.

    Attributes:
        embeddings: float32 [n, Dt], read back from the ledger.
        indices: int64 [n], positions in the image set, in the order in which they were given to `ask`.
        skipped: (id, reason) of each image that could not be read or was badly answered.
        unasked: int64 [m], positions left without an answer because the budget is spent.
        spent: questions that this call counted against the budget.
    """

    embeddings: np.ndarray
    indices: np.ndarray
    skipped: tuple[tuple[str, str], ...]
    unasked: np.ndarray
    spent: int


@dataclasses.dataclass(frozen=True)
class Questions:
    """The images to ask about, by content.

    Attributes:
        contents: position in the pool -> content hash, of the readable ones, in the order in which they were given.
        images: content hash -> the image under whose name it is asked.
        skipped: id -> reason, of those that cannot be read; more come while asking.
        account: who pays.
    """

    contents: dict[int, str]
    images: dict[str, Image]
    skipped: dict[str, str]
    account: str

    @classmethod
    def of(
        cls,
        images: ImageSet,
        indices: Sequence[int] | np.ndarray,
        *,
        budget: int | None,
        batch_size: int,
        strict: bool,
        account: str,
    ) -> "Questions":
        """Checks the arguments of `ask` and reads the images' contents."""
        check_account_budget(account, budget, images)
        if batch_size < 1:
            raise ArgumentError(f"the teacher's batch size is {batch_size}; it must be at least 1")
        contents, skipped = question_contents(images, indices, strict=strict)
        by_content: dict[str, Image] = {}
        for index, content in contents.items():
            by_content.setdefault(content, images[index])
        return cls(contents, by_content, skipped, account)

    def answers(self, ledger: Ledger, beyond: set[str], spent: int) -> Answers:
        """Returns what the ledger has; raises KdistillError when that is nothing."""
        answers = ledger.answers(self.images)
        found = [index for index, content in self.contents.items() if content in answers]
        unasked = [index for index, content in self.contents.items() if content in beyond]
        if not found:
            summary = ledger.summary()
            spent_all = f"the budget is spent ({counted(summary.account(self.account).spent, 'question')} so far)"
            reason = next(iter(self.skipped.values()), spent_all)
            if not self.images:
                raise KdistillError(f"none of the {len(self.skipped)} images to ask about can be read: {reason}")
            given = len(self.images)
            raise KdistillError(f"the teacher {summary.teacher!r} has answered none of the {given} questions: {reason}")
        return Answers(
            np.stack([answers[self.contents[index]] for index in found]),
            np.asarray(found, np.int64),
            tuple(self.skipped.items()),
            np.asarray(unasked, np.int64),
            spent,
        )
