"""Asking a teacher that compares, in the stage `ask`: orders or preferences."""

import contextlib
from typing import Any

import numpy as np
from absl import logging

from kdistill.errors import ArgumentError
from kdistill.files.whole import write_arrays
from kdistill.preferences.consistency import settle
from kdistill.preferences.orders import as_order_teacher, ask_orders, comparing_orders, order_questions
from kdistill.preferences.pair_sampling import sample_pairs
from kdistill.preferences.pairs import (
    as_preference_teacher,
    ask_preferences,
    comparing_preferences,
    preference_questions,
)
from kdistill.preferences.proposals import propose
from kdistill.settings import Settings
from kdistill.settings.effects import has_assistant
from kdistill.stages.asking.first_request import print_first_request
from kdistill.stages.asking.pool_features import pool_features
from kdistill.stages.opening.models import teacher_of
from kdistill.stages.opening.sources import data_of
from kdistill.stages.stage import Result
from kdistill.stages.workdir import Workdir
from kdistill.teachers import Ledger, check_budget, plan, select
from kdistill.teachers.ledger.database import NoLedger
from kdistill.teachers.ledger.records import LEARNING


def ask_comparisons(settings: Settings, workdir: Workdir) -> Result:
    """Asks for orders or preferences and writes `answers.npz`; with `--dry_run` it only says what it would cost.

    The file holds ids: `query_ids` [n] and `candidate_ids` [n, k] (the best first), or `query_ids`, `first_ids`,
    `second_ids` [m] and `probability` float32 [m]. The features that proposed the candidates stay in a file,
    so that a run that goes on asks the same questions.

    Raises:
        ArgumentError: a budget, or a number of candidates or pairs, that cannot be right.
        KdistillError: the teacher fails, or the ledger belongs to another.
    """
    asking, comparing = settings.asking, settings.comparing
    pool = data_of(settings).pool
    if not len(pool):
        raise ArgumentError("there are no images to ask about; name a folder of unlabelled ones with --pool_dir")
    order = settings.teacher.teacher_answers == "order"
    wanted = asking.query_budget if order else comparing.pair_queries
    check_budget(wanted, len(pool))
    teacher = teacher_of(settings.teacher, settings.run.small_seed, workdir.path, keep=not asking.dry_run)
    rows, features = pool_features(settings, workdir, pool, of="assistant" if has_assistant(settings) else "student")
    count = min(wanted, len(rows))
    queries = select(asking.selection, count, n=len(rows), features=features, seed=settings.run.seed)
    candidates = rows[propose(features, queries, comparing.candidates)]
    queries = rows[queries]
    asked: dict[str, Any] = {"budget": asking.query_budget, "price_per_query": asking.price_per_query}
    location = asking.ledger or workdir.ledger
    triples = np.zeros((0, 3), np.int64) if order else _triples(settings, queries, candidates)
    if asking.dry_run:
        questions = order_questions(pool, queries, candidates) if order else preference_questions(pool, triples)
        asker = (
            comparing_orders(as_order_teacher(teacher), comparing.candidates)
            if order
            else comparing_preferences(as_preference_teacher(teacher))
        )
        with contextlib.ExitStack() as stack:
            ledger = None
            with contextlib.suppress(NoLedger):
                ledger = stack.enter_context(Ledger(location, read_only=True))
            planned = plan(asker, questions, range(len(questions)), ledger, **asked)
        print(planned)
        print_first_request(teacher, questions, planned, 1, kind="orders" if order else "preferences")
        return Result()
    asked |= {
        "batch_size": asking.ask_batch_size,
        "strict": settings.run.strict,
        "concurrency": asking.concurrency,
    }
    ids = np.array(pool.ids)
    counts: dict[str, int] = {}
    with Ledger(location) as ledger:
        if order:
            orders = ask_orders(as_order_teacher(teacher), pool, queries, candidates, ledger, **asked)
            arrays = {"query_ids": ids[orders.queries], "candidate_ids": ids[orders.candidates]}
            skipped, now = orders.skipped, orders.spent
        else:
            answers = ask_preferences(as_preference_teacher(teacher), pool, triples, ledger, **asked)
            arrays = {
                "query_ids": ids[answers.queries],
                "first_ids": ids[answers.first],
                "second_ids": ids[answers.second],
                "probability": answers.probability,
            }
            skipped, now = answers.skipped, answers.spent
            counts = settle(answers, tie_margin=comparing.pair_tie_margin).counts()
            logging.info("preferences: %s", ", ".join(f"{name} {number}" for name, number in counts.items()))
        paid = ledger.summary().account(LEARNING)
    for name, reason in skipped:
        logging.warning("skipped %s: %s", name, reason)
    write_arrays(workdir.answers, **arrays)
    logging.info("%d answers; %d queries spent in all, %d of them now", len(arrays["query_ids"]), paid.spent, now)
    figures = {
        "queries": paid.spent,
        "cost": paid.cost,
        "teacher": teacher.name,
        "teacher_view": teacher.view,
        "skipped_questions": len(skipped),
        **({"preferences": counts} if counts else {}),
    }
    return Result(figures, [workdir.answers, *workdir.caches()])


def _triples(settings: Settings, queries: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """Returns int64 [m, 3]: query, first, second; every query's first pair, then every query's second, and so on."""
    ways = 2 if settings.comparing.pair_both_ways else 1
    pairs = -(-settings.asking.query_budget // (len(queries) * ways))
    ranks = sample_pairs(
        settings.comparing.pair_sampler, candidates.shape[1], pairs, queries=len(queries), seed=settings.run.seed
    )
    chosen = np.take_along_axis(candidates, ranks.reshape(len(queries), -1), axis=1).reshape(ranks.shape)
    asked = np.repeat(queries[:, None], pairs, axis=1)
    forward = np.concatenate([asked[..., None], chosen], axis=-1).transpose(1, 0, 2)
    if ways == 1:
        return forward.reshape(-1, 3)
    return np.stack([forward, forward[..., [0, 2, 1]]], axis=2).reshape(-1, 3)
