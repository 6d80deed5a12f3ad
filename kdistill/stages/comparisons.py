"""Teachers that compare, in the stages `ask` and `distill`: orders or preferences in, something to train on out."""

import contextlib
import io
from pathlib import Path
from typing import Any

import keras
import numpy as np
from absl import logging

from kdistill import students
from kdistill.data import ImageSet
from kdistill.errors import ArgumentError, KdistillError
from kdistill.evaluation import embed_images
from kdistill.files.whole import write_whole
from kdistill.preferences.consistency import settle
from kdistill.preferences.orders import as_order_teacher, ask_orders, comparing_orders, order_questions
from kdistill.preferences.pair_sampling import sample_pairs
from kdistill.preferences.pairs import (
    Preferences,
    as_preference_teacher,
    ask_preferences,
    comparing_preferences,
    preference_questions,
)
from kdistill.preferences.proposals import propose
from kdistill.preferences.ranker import fit_orders, fit_preferences
from kdistill.settings.settings import Settings
from kdistill.stages.common import data_of, start_student, teacher_of
from kdistill.stages.workdir import Workdir
from kdistill.teachers import Ledger, check_budget, plan, select
from kdistill.teachers.ledger.database import NoLedger

TEACHER_ANSWERS = ("vectors", "order", "pairs")

_FEATURES_OF = ("ranker_backbone", "ranker_alpha", "ranker_image_size", "ranker_weights")
_STUDENT_FEATURES_OF = ("backbone", "alpha", "image_size", "pooling", "student_weights", "seed")


def compares(settings: Settings) -> bool:
    """Says whether the teacher compares instead of embedding.

    Raises:
        ArgumentError: an unknown kind of answer, or pairs without a ranker.
    """
    if settings.teacher_answers not in TEACHER_ANSWERS:
        raise ArgumentError(
            f"--teacher_answers={settings.teacher_answers} is unknown; choose one of {', '.join(TEACHER_ANSWERS)}"
        )
    if settings.teacher_answers == "pairs" and settings.ranker_backbone is None:
        raise ArgumentError("--teacher_answers=pairs needs a ranker; name its network with --ranker_backbone")
    return settings.teacher_answers != "vectors"


def learns_orders(settings: Settings) -> bool:
    """Says whether the student itself learns the orders, without a ranker."""
    return compares(settings) and settings.ranker_backbone is None


def ask_comparisons(settings: Settings, workdir: Workdir) -> None:
    """Asks for orders or preferences and writes `answers.npz`; with `--dry_run` it only says what it would cost.

    The file holds ids: `query_ids` [n] and `candidate_ids` [n, k] (the best first), or `query_ids`, `first_ids`,
    `second_ids` [m] and `probability` float32 [m]. The features that proposed the candidates stay in `features.npz`,
    so that a run that goes on asks the same questions.

    Raises:
        ArgumentError: a budget, or a number of candidates or pairs, that cannot be right.
        KdistillError: the teacher fails, or the ledger belongs to another.
    """
    if settings.engine != "local":
        raise ArgumentError(
            f"--engine={settings.engine} asks for vectors; orders and pairs are asked with --engine=local"
        )
    pool = data_of(settings).pool
    if not len(pool):
        raise ArgumentError("there are no images to ask about; name a folder of unlabelled ones with --pool_dir")
    order = settings.teacher_answers == "order"
    wanted = settings.query_budget if order else settings.pair_queries
    check_budget(wanted, len(pool))
    teacher = teacher_of(settings, workdir)
    rows, features = pool_features(settings, workdir, pool)
    count = min(wanted, len(rows))
    queries = select(settings.selection, count, n=len(rows), features=features, seed=settings.seed)
    candidates = rows[propose(features, queries, settings.candidates)]
    queries = rows[queries]
    asked: dict[str, Any] = {"budget": settings.query_budget, "price_per_query": settings.price_per_query}
    location = settings.ledger or workdir.ledger
    triples = np.zeros((0, 3), np.int64) if order else _triples(settings, queries, candidates)
    if settings.dry_run:
        questions = order_questions(pool, queries, candidates) if order else preference_questions(pool, triples)
        comparing = (
            comparing_orders(as_order_teacher(teacher), settings.candidates)
            if order
            else comparing_preferences(as_preference_teacher(teacher))
        )
        with contextlib.ExitStack() as stack:
            ledger = None
            with contextlib.suppress(NoLedger):
                ledger = stack.enter_context(Ledger(location, create=False))
            print(plan(comparing, questions, range(len(questions)), ledger, **asked))
        return
    asked |= {"batch_size": settings.ask_batch_size, "strict": settings.strict}
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
            counts = settle(answers, tie_margin=settings.pair_tie_margin).counts()
            logging.info("preferences: %s", ", ".join(f"{name} {number}" for name, number in counts.items()))
        spent = ledger.summary().spent
    for name, reason in skipped:
        logging.warning("skipped %s: %s", name, reason)
    _write(workdir.answers, **arrays)
    workdir.update_metrics(
        queries=int(spent),
        cost=spent * settings.price_per_query,
        teacher=teacher.name,
        teacher_view=teacher.view,
        skipped_questions=len(skipped),
        **({"preferences": counts} if counts else {}),
    )
    logging.info("%d answers; %d queries spent in all, %d of them now", len(arrays["query_ids"]), spent, now)


def pool_features(settings: Settings, workdir: Workdir, pool: ImageSet) -> tuple[np.ndarray, np.ndarray]:
    """Returns positions int64 [n] of the readable images and their features float32 [n, C], L2-normalised.

    They are the ranker's, or without one the student's before distillation; `features.npz` keeps them.
    """
    names = _FEATURES_OF if settings.ranker_backbone else _STUDENT_FEATURES_OF
    made_with = repr([getattr(settings, name) for name in names])
    file = workdir.path / "features.npz"
    positions = {name: position for position, name in enumerate(pool.ids)}
    if file.exists():
        with np.load(file, allow_pickle=False) as kept:
            ids = kept["ids"].tolist()
            if str(kept["made_with"]) == made_with and all(name in positions for name in ids):
                return np.array([positions[name] for name in ids]), kept["features"]
    network = _network(settings)
    size = students.image_size(network)
    embedded = embed_images(network, pool, image_size=size, strict=settings.strict, description="looking at the pool")
    if not settings.dry_run:
        ids = np.array(pool.ids)[embedded.indices]
        _write(file, ids=ids, features=embedded.embeddings, made_with=np.array(made_with))
    return embedded.indices, embedded.embeddings


def ranked_pool(settings: Settings, workdir: Workdir, pool: ImageSet) -> tuple[ImageSet, np.ndarray]:
    """Returns all readable images of the pool and the vectors of a ranker that learned the answers, [n, Dr].

    Raises:
        ArgumentError: nothing was asked yet.
        KdistillError: an answer about an image that is not in the pool.
    """
    answers = _answers(settings, workdir)
    rows, features = pool_features(settings, workdir, pool)
    place = {pool.ids[position]: row for row, position in enumerate(rows)}
    options: dict[str, Any] = {"steps": settings.ranker_steps}
    if settings.teacher_answers == "order":
        queries, candidates = (_places(answers[name], place, workdir) for name in ("query_ids", "candidate_ids"))
        ranker = fit_orders(features, queries, candidates, **options)
    else:
        queries, first, second = (
            _places(answers[name], place, workdir) for name in ("query_ids", "first_ids", "second_ids")
        )
        given = Preferences(queries, first, second, answers["probability"])
        settled = settle(given, tie_margin=settings.pair_tie_margin).preferences
        ranker = fit_preferences(
            features, settled.queries, settled.first, settled.second, settled.probability, **options
        )
    logging.info("the ranker learned %d answers and teaches %d images", len(answers["query_ids"]), len(rows))
    return pool.subset(rows), ranker.embed(features)


def ordered_lists(settings: Settings, workdir: Workdir, pool: ImageSet) -> tuple[ImageSet, np.ndarray]:
    """Returns the images that orders are about, and the orders: int64 [n, 1 + k], a query and its candidates each.

    Raises:
        ArgumentError: nothing was asked yet.
        KdistillError: an answer about an image that is not in the pool.
    """
    answers = _answers(settings, workdir)
    lists = np.concatenate([answers["query_ids"][:, None], answers["candidate_ids"]], axis=1)
    ids, rows = np.unique(lists, return_inverse=True)
    place = {name: position for position, name in enumerate(pool.ids)}
    return pool.subset(_places(ids, place, workdir)), rows.reshape(lists.shape)


def readable_lists(lists: np.ndarray, readable: np.ndarray) -> np.ndarray:
    """Returns the lists (int [n, 1 + k]) of which every image could be read, as rows of the readable (int [m])."""
    row = {int(image): number for number, image in enumerate(readable)}
    whole = [one for one in lists.tolist() if all(image in row for image in one)]
    return np.array([[row[image] for image in one] for one in whole], np.int64).reshape(len(whole), lists.shape[1])


def _triples(settings: Settings, queries: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """Returns int64 [m, 3]: query, first, second; every query's first pair, then every query's second, and so on."""
    ways = 2 if settings.pair_both_ways else 1
    pairs = -(-settings.query_budget // (len(queries) * ways))
    ranks = sample_pairs(settings.pair_sampler, candidates.shape[1], pairs, queries=len(queries), seed=settings.seed)
    chosen = np.take_along_axis(candidates, ranks.reshape(len(queries), -1), axis=1).reshape(ranks.shape)
    asked = np.repeat(queries[:, None], pairs, axis=1)
    forward = np.concatenate([asked[..., None], chosen], axis=-1).transpose(1, 0, 2)
    if ways == 1:
        return forward.reshape(-1, 3)
    return np.stack([forward, forward[..., [0, 2, 1]]], axis=2).reshape(-1, 3)


def _network(settings: Settings) -> keras.Model:
    if settings.ranker_backbone is None:
        return students.pooled_features(start_student(settings))
    keras.utils.set_random_seed(settings.seed)
    return students.build(
        settings.ranker_backbone,
        alpha=settings.ranker_alpha,
        image_size=settings.ranker_image_size,
        embedding_dim=None,
        weights=settings.ranker_weights,
    )


def _answers(settings: Settings, workdir: Workdir) -> dict[str, np.ndarray]:
    with np.load(workdir.needs(workdir.answers, "ask"), allow_pickle=False) as arrays:
        answers = dict(arrays)
    expected = "candidate_ids" if settings.teacher_answers == "order" else "probability"
    if expected not in answers:
        raise KdistillError(
            f"{workdir.answers} holds no answers of the kind --teacher_answers={settings.teacher_answers}"
        )
    return answers


def _places(ids: np.ndarray, place: dict[str, int], workdir: Workdir) -> np.ndarray:
    """Returns int64 of the shape of `ids`."""
    missing = next((name for name in ids.reshape(-1).tolist() if name not in place), None)
    if missing is not None:
        raise KdistillError(f"{workdir.answers} has an answer about {missing!r}, which is not in the pool")
    return np.array([place[name] for name in ids.reshape(-1).tolist()], np.int64).reshape(ids.shape)


def _write(path: Path, **arrays: Any) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    write_whole(path, buffer.getvalue())
