"""The stage `ask`: choose the questions, spend the budget, keep the answers."""

import contextlib
import functools
from typing import Any

import numpy as np
from absl import logging

from kdistill.cluster.asking import ask_on_ray
from kdistill.cluster.ray_engine import check_engine
from kdistill.data import ImageSet, RetrievalData
from kdistill.files.whole import write_arrays
from kdistill.settings import Settings
from kdistill.settings.effects import compares
from kdistill.stages.asking.ask_comparisons import ask_comparisons
from kdistill.stages.asking.edited import contents_of
from kdistill.stages.asking.first_request import print_first_request
from kdistill.stages.asking.held_out import (
    ask_held_out,
    choose_held_out,
    learning_pool,
    plan_held_out,
    pool_beside,
)
from kdistill.stages.asking.known_before import add_known, beside_known, gallery_table
from kdistill.stages.asking.pool_features import pool_features
from kdistill.stages.asking.rehearsal import rehearse
from kdistill.stages.judging.scoring import print_scoring_plans
from kdistill.stages.opening.inputs import identity_cache
from kdistill.stages.opening.models import teacher_of
from kdistill.stages.opening.sources import data_of
from kdistill.stages.stage import Result
from kdistill.stages.workdir import Workdir
from kdistill.teachers import Ledger, Teacher, ask, check_budget, plan, select
from kdistill.teachers.choosing.known import known_positions, prefer_known
from kdistill.teachers.ledger.database import NoLedger
from kdistill.teachers.ledger.records import JUDGING, LEARNING
from kdistill.teachers.providers.table import TableTeacher


def ask_teacher(settings: Settings, workdir: Workdir) -> Result:
    """Asks about `--query_budget` images of the pool and writes `answers.npz` (`ids`, `embeddings`, `contents`).

    Photos that judge are chosen first; they are no part of the pool (see `held_out`). With `--dry_run` it says what
    would be asked and at what cost, and asks nothing.

    Raises:
        ArgumentError: a budget that cannot be right, or a student or loss that cannot be built.
        KdistillError: the teacher fails, or the ledger belongs to another.
    """
    asking = settings.asking
    rehearse(settings)
    if not asking.dry_run:
        workdir.judging.unlink(missing_ok=True)  # that of an interrupted run with other settings
    if compares(settings):
        return ask_comparisons(settings, workdir)
    check_engine(asking.engine, asking.actors)
    data = data_of(settings)
    keep = not asking.dry_run
    opening = functools.partial(teacher_of, settings.teacher, settings.run.small_seed, workdir.path, keep=keep)
    teacher = opening()
    location = asking.ledger or workdir.ledger
    table = gallery_table(settings, getattr(teacher, "dimension", None))
    if asking.dry_run:
        _print_plans(settings, workdir, teacher, data, table)
        return Result()
    with Ledger(location) as ledger:
        held_out = choose_held_out(settings, data, ledger)
        if table is not None and len(held_out):
            add_known(table, data.gallery.subset(held_out).without_labels(), teacher, ledger, JUDGING)
    # Known before anything is paid for: photos that judge may lie in another pool under other names.
    check_budget(asking.query_budget, len(pool_beside(data, held_out, identity_cache(workdir.path))))
    judging = ask_held_out(teacher, data, held_out, settings, workdir)
    pool = learning_pool(settings, workdir, data)
    with Ledger(location) as ledger:
        before = add_known(table, pool, teacher, ledger, LEARNING)
        chosen = choose_beside(settings, workdir, pool, before)
        paid_before = np.setdiff1d(known_positions(pool, ledger), before)
        wanted = np.concatenate([before, prefer_known(chosen, paid_before, asking.query_budget)])
    options: dict[str, Any] = dict(
        budget=asking.query_budget,
        batch_size=asking.ask_batch_size,
        strict=settings.run.strict,
        price_per_query=asking.price_per_query,
    )
    if asking.engine == "ray":
        answers = ask_on_ray(opening, pool, wanted, location, **options, actors=asking.actors)
    with Ledger(location) as ledger:
        if asking.engine == "local":
            answers = ask(teacher, pool, wanted, ledger, **options, concurrency=asking.concurrency)
        paid = ledger.summary().account(LEARNING)
    for name, reason in answers.skipped:
        logging.warning("skipped %s: %s", name, reason)
    # In the order in which they were chosen, whatever was known before: the student then does not depend on that.
    rank = {int(position): place for place, position in reversed(list(enumerate([*before, *chosen, *wanted])))}
    order = np.argsort([rank[int(position)] for position in answers.indices], kind="stable")
    indices, embeddings = answers.indices[order], answers.embeddings[order]
    ids = np.array([pool.ids[index] for index in indices])
    write_arrays(workdir.answers, ids=ids, embeddings=embeddings, contents=contents_of(pool, indices))
    logging.info(
        "%d answers of %d dimensions; %d queries spent in all, %d of them now",
        len(indices),
        embeddings.shape[1],
        paid.spent,
        answers.spent,
    )
    figures = {
        "queries": paid.spent,
        "cost": paid.cost,
        "teacher": teacher.name,
        "teacher_view": teacher.view,
        "skipped_questions": len(answers.skipped),
        **({} if table is None else {"known_before": len(before)}),
        **judging,
    }
    made = [workdir.answers, *([workdir.judging] if judging else []), *workdir.caches()]
    return Result(figures, made)


def _print_plans(
    settings: Settings, workdir: Workdir, teacher: Teacher, data: RetrievalData, table: TableTeacher | None
) -> None:
    """Says what would be asked and at what cost, and asks and writes nothing."""
    asking = settings.asking
    with contextlib.ExitStack() as stack:
        ledger = None
        with contextlib.suppress(NoLedger):
            ledger = stack.enter_context(Ledger(asking.ledger or workdir.ledger, read_only=True))
        held_out, judging = plan_held_out(teacher, data, settings, ledger)
        pool = pool_beside(data, held_out, None)
        if table is not None:
            pool = pool.subset(beside_known(pool, np.flatnonzero(table.rows_of(pool.ids) >= 0)).tolist())
            if not len(pool):
                print(f"all photos of the pool have a vector in {table.path}; nothing is asked")
                return
            settings = settings.changed(query_budget=min(asking.query_budget, len(pool)))
            asking = settings.asking
        wanted = choose(settings, workdir, pool)
        if ledger is not None:
            wanted = prefer_known(wanted, known_positions(pool, ledger), asking.query_budget)
        budget, price = asking.query_budget, asking.price_per_query
        before = () if judging is None else (judging,)
        learning = plan(teacher, pool, wanted, ledger, budget=budget, price_per_query=price, after=before)
    for one in (*before, learning):
        print(one)
    print_first_request(teacher, pool.subset(wanted), learning, asking.ask_batch_size)
    print_scoring_plans(settings, workdir, data, (*before, learning))


def choose_beside(settings: Settings, workdir: Workdir, pool: ImageSet, known: np.ndarray) -> np.ndarray:
    """Does as `choose` among the images beside those at these positions, and takes all where no more are left."""
    if not len(known):
        return choose(settings, workdir, pool)
    left = beside_known(pool, known)
    if not len(left):
        return left
    fewer = settings.changed(query_budget=min(settings.asking.query_budget, len(left)))
    return left[choose(fewer, workdir, pool.subset(left.tolist()))]


def choose(settings: Settings, workdir: Workdir, pool: ImageSet) -> np.ndarray:
    """Returns int64 [budget], positions in the pool in the order in which they are to be asked about.

    Raises:
        ArgumentError: a budget beyond the pool.
    """
    asking, seed = settings.asking, settings.run.seed
    check_budget(asking.query_budget, len(pool))
    if asking.selection == "random":
        return select("random", asking.query_budget, n=len(pool), seed=seed)
    positions, features = pool_features(settings, workdir, pool, of="student")
    count = min(asking.query_budget, len(positions))
    return positions[select(asking.selection, count, features=features, seed=seed)]
