"""The teacher's own row: its vectors of the images that are judged, and who pays for them."""

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from kdistill.console.progress import progress_bar
from kdistill.data import ImageSet, RetrievalData
from kdistill.errors import ArgumentError, KdistillError
from kdistill.settings import Settings
from kdistill.settings.effects import compares, teacher_kind
from kdistill.stages.judging.judge import Judge, Vectors
from kdistill.stages.opening.models import teacher_of
from kdistill.stages.workdir import Workdir
from kdistill.teachers import Ledger, Plan, Teacher, ask, plan
from kdistill.teachers.ledger.database import NoLedger
from kdistill.teachers.ledger.records import SCORING
from kdistill.teachers.providers.function import FunctionTeacher

_BATCH = 32


def teacher_to_score(settings: Settings, workdir: Workdir) -> Teacher | None:
    """Opens the teacher where it is to have a row, else returns None.

    `auto` is for teachers that charge nothing and run here (`repeatable`).

    Raises:
        ArgumentError: --score_teacher=yes for one that may charge, without a --scoring_budget.
    """
    wanted = settings.evaluation.score_teacher
    if wanted == "no" or (wanted == "auto" and teacher_kind(settings.teacher.teacher) == "service"):
        return None
    keep = not settings.asking.dry_run
    teacher = teacher_of(settings.teacher, settings.run.small_seed, workdir.path, keep=keep)
    if compares(settings) and (isinstance(teacher, FunctionTeacher) or not isinstance(teacher, Teacher)):
        # It has no vectors to score.
        return None
    if _is_free(teacher):
        return teacher
    if wanted == "yes" and not settings.evaluation.scoring_budget:
        raise ArgumentError(
            f"--score_teacher=yes asks the teacher {teacher.name!r} about the images of the evaluation; "
            "say how many questions that may take with --scoring_budget"
        )
    return teacher if wanted == "yes" else None


def teacher_vectors(teacher: Teacher, judge: Judge, settings: Settings, workdir: Workdir) -> Vectors:
    """Returns the teacher's vectors of gallery and queries; one that may charge is asked through the ledger.

    Raises:
        KdistillError: an image without an answer, or more questions than --scoring_budget (nothing is asked then).
    """
    if _is_free(teacher):
        return judge.embed(lambda images, role: _asked_directly(teacher, images, f"teacher, {role}"))
    with Ledger(_ledger(settings, workdir)) as ledger:
        over = sum(one.over_budget for one in scoring_plans(teacher, judge.data, ledger, settings))
        if over:
            raise KdistillError(
                f"it takes {over} questions more than the --scoring_budget={settings.evaluation.scoring_budget}; "
                "nothing was asked for it"
            )
        return judge.embed(lambda images, role: _asked_through(ledger, teacher, images, settings))


def scoring_plans(
    teacher: Teacher, data: RetrievalData, ledger: Ledger | None, settings: Settings, after: tuple[Plan, ...] = ()
) -> list[Plan]:
    """Returns what scoring the teacher would ask and cost, a plan for the gallery and one for the queries."""
    plans: list[Plan] = []
    for images in (data.gallery, *([] if data.queries is None else [data.queries])):
        plans.append(
            plan(
                teacher,
                images,
                range(len(images)),
                ledger,
                budget=settings.evaluation.scoring_budget,
                price_per_query=settings.asking.price_per_query,
                account=SCORING,
                after=[*after, *plans],
            )
        )
    return plans


def print_scoring_plans(settings: Settings, workdir: Workdir, data: RetrievalData, after: tuple[Plan, ...]) -> None:
    """Prints what the teacher's row would cost beside the questions of `after`; nothing where it costs nothing."""
    teacher = teacher_to_score(settings, workdir)
    if teacher is None or _is_free(teacher):
        return
    with contextlib.ExitStack() as stack:
        ledger = None
        with contextlib.suppress(NoLedger):
            ledger = stack.enter_context(Ledger(_ledger(settings, workdir), read_only=True))
        for one in scoring_plans(teacher, data, ledger, settings, after):
            print(one)


def scoring_costs(settings: Settings, workdir: Workdir) -> dict[str, Any]:
    """Returns what the teacher's row has cost in all, as figures; nothing where it may not cost anything."""
    if not settings.evaluation.scoring_budget:
        return {}
    with Ledger(_ledger(settings, workdir)) as ledger:
        account = ledger.summary().account(SCORING)
    return {"scoring_queries": account.spent, "scoring_cost": account.cost}


def _ledger(settings: Settings, workdir: Workdir) -> str | Path:
    # A ledger of comparisons holds no vectors.
    own = workdir.path / "scoring.sqlite"
    return own if compares(settings) else settings.asking.ledger or workdir.ledger


def _is_free(teacher: Teacher) -> bool:
    return bool(getattr(teacher, "repeatable", False))


def _asked_directly(teacher: Teacher, images: ImageSet, description: str) -> np.ndarray:
    batches = [images[start : start + _BATCH] for start in range(0, len(images), _BATCH)]
    bar = progress_bar(batches, description=description, unit="batch")
    return np.concatenate([teacher.embed(batch) for batch in bar])


def _asked_through(ledger: Ledger, teacher: Teacher, images: ImageSet, settings: Settings) -> np.ndarray:
    answers = ask(
        teacher,
        images,
        range(len(images)),
        ledger,
        budget=settings.evaluation.scoring_budget,
        batch_size=settings.asking.ask_batch_size,
        concurrency=settings.asking.concurrency,
        strict=settings.run.strict,
        price_per_query=settings.asking.price_per_query,
        account=SCORING,
    )
    logging.info("scoring the teacher: %d questions asked now", answers.spent)
    if len(answers.indices) < len(images):
        raise KdistillError(f"{len(images) - len(answers.indices)} of {len(images)} images have no answer")
    return answers.embeddings[np.argsort(answers.indices)]
