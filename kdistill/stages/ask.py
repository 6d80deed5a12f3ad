"""The stage `ask`: choose the questions, spend the budget, keep the answers."""

import contextlib
import functools
import io
from typing import Any

import numpy as np
from absl import logging

from kdistill import students
from kdistill.cluster.asking import ask_on_ray
from kdistill.cluster.ray_engine import check_engine
from kdistill.data import ImageSet
from kdistill.errors import ArgumentError
from kdistill.evaluation import embed_images
from kdistill.files.whole import write_whole
from kdistill.settings.settings import Settings
from kdistill.stages.changes import contents_of
from kdistill.stages.common import data_of, start_student, teacher_of
from kdistill.stages.comparisons import ask_comparisons, compares
from kdistill.stages.workdir import Workdir
from kdistill.teachers import Ledger, ask, check_budget, plan, select
from kdistill.teachers.ledger.database import NoLedger


def ask_teacher(settings: Settings, workdir: Workdir) -> None:
    """Asks about `--query_budget` images of the pool and writes `answers.npz` (`ids`, `embeddings`).

    With `--dry_run` it says what would be asked and at what cost, and asks nothing.

    Raises:
        ArgumentError: a budget that cannot be right.
        KdistillError: the teacher fails, or the ledger belongs to another.
    """
    if compares(settings):
        ask_comparisons(settings, workdir)
        return
    check_engine(settings.engine, settings.actors)
    data = data_of(settings)
    if not len(data.pool):
        raise ArgumentError("there are no images to ask about; name a folder of unlabelled ones with --pool_dir")
    check_budget(settings.query_budget, len(data.pool))
    teacher = teacher_of(settings, workdir)
    chosen = choose(settings, data.pool)
    location = settings.ledger or workdir.ledger
    if settings.dry_run:
        with contextlib.ExitStack() as stack:
            ledger = None
            with contextlib.suppress(NoLedger):
                ledger = stack.enter_context(Ledger(location, create=False))
            budget, price = settings.query_budget, settings.price_per_query
            print(plan(teacher, data.pool, chosen, ledger, budget=budget, price_per_query=price))
        return
    options: dict[str, Any] = dict(
        budget=settings.query_budget,
        batch_size=settings.ask_batch_size,
        strict=settings.strict,
        price_per_query=settings.price_per_query,
    )
    if settings.engine == "ray":
        opening = functools.partial(teacher_of, settings, workdir)
        answers = ask_on_ray(opening, data.pool, chosen, location, **options, actors=settings.actors)
    with Ledger(location) as ledger:
        if settings.engine == "local":
            answers = ask(teacher, data.pool, chosen, ledger, **options)
        spent = ledger.summary().spent
    for name, reason in answers.skipped:
        logging.warning("skipped %s: %s", name, reason)
    buffer = io.BytesIO()
    ids = np.array([data.pool.ids[index] for index in answers.indices])
    contents = contents_of(data.pool, answers.indices)
    np.savez(buffer, ids=ids, embeddings=answers.embeddings, contents=contents)
    write_whole(workdir.answers, buffer.getvalue())
    workdir.update_metrics(
        queries=int(spent),
        cost=spent * settings.price_per_query,
        teacher=teacher.name,
        teacher_view=teacher.view,
        skipped_questions=len(answers.skipped),
    )
    logging.info(
        "%d answers of %d dimensions; %d queries spent in all, %d of them now",
        len(answers.indices),
        answers.embeddings.shape[1],
        spent,
        answers.spent,
    )


def choose(settings: Settings, pool: ImageSet) -> np.ndarray:
    """Returns int64 [budget], positions in the pool in the order in which they are to be asked about."""
    if settings.selection == "random":
        return select("random", settings.query_budget, n=len(pool), seed=settings.seed)
    features = students.pooled_features(start_student(settings))
    embedded = embed_images(
        features, pool, image_size=settings.image_size, strict=settings.strict, description="looking at the pool"
    )
    count = min(settings.query_budget, len(embedded.indices))
    return embedded.indices[select(settings.selection, count, features=embedded.embeddings, seed=settings.seed)]
