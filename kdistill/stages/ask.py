"""The stage `ask`: choose the questions, spend the budget, keep the answers."""

import contextlib
import functools
from typing import Any

import numpy as np
from absl import logging

from kdistill import students
from kdistill.cluster.asking import ask_on_ray
from kdistill.cluster.ray_engine import check_engine
from kdistill.data import ImageSet
from kdistill.errors import ArgumentError
from kdistill.evaluation import embed_images
from kdistill.files.whole import write_arrays
from kdistill.settings import Settings
from kdistill.settings.effects import compares
from kdistill.stages.ask_comparisons import ask_comparisons
from kdistill.stages.edited import contents_of
from kdistill.stages.models import start_student, teacher_of
from kdistill.stages.rehearsal import rehearse
from kdistill.stages.sources import data_of
from kdistill.stages.stage import Result
from kdistill.stages.workdir import Workdir
from kdistill.teachers import Ledger, ask, check_budget, plan, select
from kdistill.teachers.ledger.database import NoLedger


def ask_teacher(settings: Settings, workdir: Workdir) -> Result:
    """Asks about `--query_budget` images of the pool and writes `answers.npz` (`ids`, `embeddings`, `contents`).

    With `--dry_run` it says what would be asked and at what cost, and asks nothing.

    Raises:
        ArgumentError: a budget that cannot be right, or a student or loss that cannot be built.
        KdistillError: the teacher fails, or the ledger belongs to another.
    """
    asking = settings.asking
    rehearse(settings)
    if compares(settings):
        return ask_comparisons(settings, workdir)
    check_engine(asking.engine, asking.actors)
    pool = data_of(settings).pool
    if not len(pool):
        raise ArgumentError("there are no images to ask about; name a folder of unlabelled ones with --pool_dir")
    check_budget(asking.query_budget, len(pool))
    opening = functools.partial(teacher_of, settings.teacher, settings.run.small_seed, workdir.path)
    teacher = opening()
    chosen = choose(settings, pool)
    location = asking.ledger or workdir.ledger
    if asking.dry_run:
        with contextlib.ExitStack() as stack:
            ledger = None
            with contextlib.suppress(NoLedger):
                ledger = stack.enter_context(Ledger(location, create=False))
            budget, price = asking.query_budget, asking.price_per_query
            print(plan(teacher, pool, chosen, ledger, budget=budget, price_per_query=price))
        return Result()
    options: dict[str, Any] = dict(
        budget=asking.query_budget,
        batch_size=asking.ask_batch_size,
        strict=settings.run.strict,
        price_per_query=asking.price_per_query,
    )
    if asking.engine == "ray":
        answers = ask_on_ray(opening, pool, chosen, location, **options, actors=asking.actors)
    with Ledger(location) as ledger:
        if asking.engine == "local":
            answers = ask(teacher, pool, chosen, ledger, **options)
        summary = ledger.summary()
    for name, reason in answers.skipped:
        logging.warning("skipped %s: %s", name, reason)
    ids = np.array([pool.ids[index] for index in answers.indices])
    contents = contents_of(pool, answers.indices)
    write_arrays(workdir.answers, ids=ids, embeddings=answers.embeddings, contents=contents)
    logging.info(
        "%d answers of %d dimensions; %d queries spent in all, %d of them now",
        len(answers.indices),
        answers.embeddings.shape[1],
        summary.spent,
        answers.spent,
    )
    figures = {
        "queries": summary.spent,
        "cost": summary.cost,
        "teacher": teacher.name,
        "teacher_view": teacher.view,
        "skipped_questions": len(answers.skipped),
    }
    return Result(figures, [workdir.answers])


def choose(settings: Settings, pool: ImageSet) -> np.ndarray:
    """Returns int64 [budget], positions in the pool in the order in which they are to be asked about."""
    asking, seed = settings.asking, settings.run.seed
    if asking.selection == "random":
        return select("random", asking.query_budget, n=len(pool), seed=seed)
    features = students.pooled_features(start_student(settings.student, settings.run.small_seed))
    embedded = embed_images(
        features,
        pool,
        image_size=settings.student.image_size,
        strict=settings.run.strict,
        description="looking at the pool",
    )
    count = min(asking.query_budget, len(embedded.indices))
    return embedded.indices[select(asking.selection, count, features=embedded.embeddings, seed=seed)]
