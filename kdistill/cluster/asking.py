"""Asking on a Ray cluster: each actor opens the teacher once and is an asker of its own on one ledger.

The ledger does what it does for any askers: it holds the budget, keeps each answer once, and frees what an actor that
died had in flight. Which questions are asked is settled here, before: as many of the first open ones as the budget has
left, in batches of the same images that one process would ask about.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from kdistill.cluster.ray_engine import machines, map_on_actors, ray_cluster
from kdistill.console.progress import progress_bar
from kdistill.data.images import Image, ImageSet
from kdistill.errors import ArgumentError, KdistillError
from kdistill.teachers.ledger.addresses import is_address
from kdistill.teachers.ledger.ledger import Ledger
from kdistill.teachers.ledger.records import ANSWERED, BAD, LEARNING
from kdistill.teachers.questions import Answers, Questions
from kdistill.teachers.run import BAD_BEFORE, Run
from kdistill.teachers.teacher import Teacher


def ask_on_ray(
    open_teacher: Callable[[], Teacher],
    images: ImageSet,
    indices: Sequence[int] | np.ndarray,
    location: str | Path,
    *,
    budget: int | None,
    batch_size: int = 32,
    strict: bool = False,
    price_per_query: float = 0.0,
    retry_bad: bool = False,
    actors: int = 0,
    account: str = LEARNING,
) -> Answers:
    """Does what `asking.ask` does, with the same answers, on many actors.

    Args:
        open_teacher: opens the teacher, in this process and once in each actor; it must pickle.
        images: the pool; its files must be there under the same names on all machines.
        indices, budget, batch_size, strict, price_per_query, retry_bad, account: see `asking.ask`. Under `strict`,
            the other actors are stopped too, and their batches in flight count as perhaps charged.
        location: of the ledger; an address where the cluster has more than one machine.
        actors: how many; 0 for one a core of the cluster.

    Returns:
        as `asking.ask`; `spent` leaves out what actors that died had counted (the ledger has it all).

    Raises:
        ArgumentError: as `asking.ask`, or a ledger in a file on a cluster of several machines.
        KdistillError: as `asking.ask`, or Ray fails.
    """
    questions = Questions.of(images, indices, budget=budget, batch_size=batch_size, strict=strict, account=account)
    teacher = open_teacher()
    with Ledger(location) as ledger, ray_cluster() as ray:
        if machines(ray) > 1 and not is_address(location):
            raise ArgumentError(
                f"the ledger {ledger.path} is a file, which only one machine can use; the cluster has {machines(ray)}: "
                "give --ledger=postgresql+psycopg://..."
            )
        ledger.bind(teacher.name, teacher.view, getattr(teacher, "dimension", None))
        make = _MakeAsker(open_teacher, str(location), budget, batch_size, strict, price_per_query, retry_bad, account)
        offered: set[str] = set()
        beyond: set[str] = set()
        spent = 0
        with progress_bar(total=len(questions.images), description="asking") as bar:
            # A second round follows where images that could not be read have given their budget back.
            while batches := _open_batches(questions, ledger, offered, budget, batch_size, retry_bad):
                offered.update(content for batch in batches for content in batch)
                for told in map_on_actors(make, batches, actors=actors):
                    questions.skipped.update(told.skipped)
                    beyond.update(told.beyond)
                    spent += told.spent
                    bar.update(told.asked)
        states = ledger.states(questions.images)
        beyond.update(content for content in questions.images if content not in states and content not in offered)
        for content, image in questions.images.items():
            if states.get(content) == BAD and content not in offered:
                if strict:
                    raise KdistillError(f"image {image.id!r}: {BAD_BEFORE}")
                questions.skipped[image.id] = BAD_BEFORE
        return questions.answers(ledger, beyond, spent)


def _open_batches(
    questions: Questions, ledger: Ledger, offered: set[str], budget: int | None, batch_size: int, retry_bad: bool
) -> list[dict[str, Image]]:
    """Returns the next questions that the budget reaches, content hash -> image, in batches."""
    states = ledger.states(questions.images)
    closed = (ANSWERED,) if retry_bad else (ANSWERED, BAD)
    found = [
        (content, image)
        for content, image in questions.images.items()
        if content not in offered and states.get(content) not in closed
    ]
    if budget is not None:
        found = found[: max(0, budget - ledger.summary().account(questions.account).spent)]
    return [dict(found[first : first + batch_size]) for first in range(0, len(found), batch_size)]


@dataclasses.dataclass(frozen=True)
class _Told:
    """What became of one batch: id -> reason of the skipped, contents beyond the budget, questions counted."""

    skipped: dict[str, str]
    beyond: set[str]
    spent: int
    asked: int


@dataclasses.dataclass(frozen=True)
class _MakeAsker:
    open_teacher: Callable[[], Teacher]
    location: str
    budget: int | None
    batch_size: int
    strict: bool
    price: float
    retry_bad: bool
    account: str

    def __call__(self) -> Callable[[dict[str, Image]], _Told]:
        options = (self.budget, self.batch_size, self.strict, self.price, self.retry_bad, self.account)
        run = Run(self.open_teacher(), Ledger(self.location, create=False), {}, {}, *options)
        return functools.partial(_ask_batch, run)


def _ask_batch(run: Run, batch: dict[str, Image]) -> _Told:
    # One Run for all batches of an actor: it counts the fruitless ones in a row.
    run.images, run.skipped, run.spent = batch, {}, 0
    beyond = run.ask_all()
    return _Told(run.skipped, beyond, run.spent, len(batch))
