"""Asking: each image once, within the budget, every answer on disk before it is used."""

from collections.abc import Callable, Sequence

import numpy as np

from kdistill.data.images import ImageSet
from kdistill.errors import ArgumentError
from kdistill.teachers.ledger.ledger import Ledger
from kdistill.teachers.ledger.records import LEARNING
from kdistill.teachers.questions import Answers, Questions
from kdistill.teachers.run import Run
from kdistill.teachers.teacher import Teacher


def ask(
    teacher: Teacher,
    images: ImageSet,
    indices: Sequence[int] | np.ndarray,
    ledger: Ledger,
    *,
    budget: int | None,
    batch_size: int = 32,
    strict: bool = False,
    price_per_query: float = 0.0,
    retry_bad: bool = False,
    account: str = LEARNING,
    concurrency: int = 1,
    sleep: Callable[[float], None] | None = None,
) -> Answers:
    """Asks the teacher about some images and returns all answers that the ledger has for them, whoever paid.

    Can be stopped and started again at any time, and run by several processes on one ledger: what was
    answered, in whatever account, is not asked again, and together they spend at most the account's budget. Images of
    equal content are one question. A question whose answer was lost is asked again (it then counts twice, unless the
    teacher is `repeatable`); one that was badly answered is not.

    Args:
        teacher: the black box.
        images: the pool.
        indices: int [k], distinct positions in the pool, the most wanted first.
        ledger: where the answers are kept; it is bound to this teacher and view.
        budget: what the account may ever spend, at least 1; for learning at most len(images). None for no bound.
        batch_size: images in one call of the teacher (fewer where it takes fewer): what a kill can lose.
        strict: raise on the first unreadable image or bad answer instead of skipping it.
        price_per_query: recorded beside each question.
        retry_bad: ask again what was badly answered before.
        account: who pays for what is asked now.
        concurrency: calls of the teacher that may be under way at once, in threads; a kill can lose a batch of each.
            The first call, and each after one without a usable answer, goes alone.
        sleep: waits so many seconds between attempts of a function (tests pass their own).

    Raises:
        ArgumentError: a budget, batch size or index that cannot be right.
        KdistillError: the ledger is another teacher's; the teacher fails; not one answer is there at the end.
    """
    questions = Questions.of(images, indices, budget=budget, batch_size=batch_size, strict=strict, account=account)
    ledger.bind(teacher.name, teacher.view, getattr(teacher, "dimension", None))
    options = (budget, batch_size, strict, price_per_query, retry_bad, account)
    if concurrency < 1:
        raise ArgumentError(f"the number of requests at once is {concurrency}; it must be at least 1")
    run = Run(teacher, ledger, questions.images, questions.skipped, *options, concurrency=concurrency, sleep=sleep)
    beyond = run.ask_all()
    return questions.answers(ledger, beyond, run.spent)
