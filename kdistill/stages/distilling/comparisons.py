"""What a teacher that compares has said, as something to train on: orders, or vectors of a ranker that learned it."""

from typing import Any

import numpy as np
from absl import logging

from kdistill.data import ImageSet
from kdistill.errors import KdistillError
from kdistill.preferences.consistency import settle
from kdistill.preferences.pairs import Preferences
from kdistill.preferences.ranker import fit_orders, fit_preferences
from kdistill.settings import Settings
from kdistill.stages.asking.pool_features import pool_features
from kdistill.stages.workdir import Workdir


def ranked_pool(settings: Settings, workdir: Workdir, pool: ImageSet) -> tuple[ImageSet, np.ndarray]:
    """Returns all readable images of the pool and the vectors of a ranker that learned the answers, [n, Dr].

    Raises:
        ArgumentError: nothing was asked yet.
        KdistillError: an answer about an image that is not in the pool.
    """
    answers = _answers(settings, workdir)
    rows, features = pool_features(settings, workdir, pool)
    place = {pool.ids[position]: row for row, position in enumerate(rows)}
    options: dict[str, Any] = {"steps": settings.comparing.ranker_steps}
    if settings.teacher.teacher_answers == "order":
        queries, candidates = (_places(answers[name], place, workdir) for name in ("query_ids", "candidate_ids"))
        ranker = fit_orders(features, queries, candidates, **options)
    else:
        queries, first, second = (
            _places(answers[name], place, workdir) for name in ("query_ids", "first_ids", "second_ids")
        )
        given = Preferences(queries, first, second, answers["probability"])
        settled = settle(given, tie_margin=settings.comparing.pair_tie_margin).preferences
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


def _answers(settings: Settings, workdir: Workdir) -> dict[str, np.ndarray]:
    with np.load(workdir.needs(workdir.answers, "ask"), allow_pickle=False) as arrays:
        answers = dict(arrays)
    expected = "candidate_ids" if settings.teacher.teacher_answers == "order" else "probability"
    if expected not in answers:
        raise KdistillError(
            f"{workdir.answers} holds no answers of the kind --teacher_answers={settings.teacher.teacher_answers}"
        )
    return answers


def _places(ids: np.ndarray, place: dict[str, int], workdir: Workdir) -> np.ndarray:
    """Returns int64 of the shape of `ids`."""
    missing = next((name for name in ids.reshape(-1).tolist() if name not in place), None)
    if missing is not None:
        raise KdistillError(f"{workdir.answers} has an answer about {missing!r}, which is not in the pool")
    return np.array([place[name] for name in ids.reshape(-1).tolist()], np.int64).reshape(ids.shape)
