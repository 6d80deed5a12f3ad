"""What the student learns from: images of the pool, and the answers of teacher and assistant as targets."""

import dataclasses

import numpy as np

from kdistill.data import ImageSet
from kdistill.files.archives import map_arrays
from kdistill.losses.two_spaces import joined_answers
from kdistill.settings import Settings
from kdistill.settings.effects import compares, learns_orders, learns_truth
from kdistill.stages.asking.answers import answered_vectors, comparisons, places_of
from kdistill.stages.space import TeacherSpace
from kdistill.stages.workdir import Workdir


@dataclasses.dataclass(frozen=True)
class Taught:
    """What the student learns from.

    Attributes:
        images: n images.
        targets: vectors [n, Dt], which may be memory-mapped; those of `joined_answers` where two teach; or orders int64
            [m, 1 + k].
        assistant_dim: Da where both teacher and assistant teach; None where one of them does.
    """

    images: ImageSet
    targets: np.ndarray
    assistant_dim: int | None = None


def answered(settings: Settings, workdir: Workdir, pool: ImageSet, space: TeacherSpace | None = None) -> Taught:
    """Returns the images to learn from and their targets; in the teacher's space, `space`, vectors of that.

    There the assistant answers for images that were not asked about, and the teacher's own vectors come first.

    Raises:
        ArgumentError: nothing was asked yet, or the assistant did not answer yet.
        KdistillError: answers of another kind, or about an image that is not in the pool.
    """
    if learns_orders(settings):
        return Taught(*ordered_lists(settings, workdir, pool))
    if settings.assistant.assistant_backbone is not None:
        ids, vectors = map_arrays(workdir.needs(workdir.assistant_answers, "assist"), ("ids", "embeddings"))
        if len(ids):
            return _from_assistant(settings, workdir, pool, ids, vectors, space)
    positions, vectors = answered_vectors(settings, workdir, pool)
    if space is not None:
        return Taught(pool.subset(positions.tolist()), space.projection.transform(vectors))
    return Taught(pool.subset(positions.tolist()), _centred(settings, vectors))


def _from_assistant(
    settings: Settings,
    workdir: Workdir,
    pool: ImageSet,
    ids: np.ndarray,
    vectors: np.ndarray,
    space: TeacherSpace | None,
) -> Taught:
    place = {name: position for position, name in enumerate(pool.ids)}
    images = pool.subset(places_of(ids, place, workdir.assistant_answers).tolist())
    if space is None and not learns_truth(settings):
        return Taught(images, _centred(settings, vectors))
    positions, answers = answered_vectors(settings, workdir, pool)
    row = {name: number for number, name in enumerate(ids.tolist())}
    known = [number for number, position in enumerate(positions) if pool.ids[position] in row]
    rows = np.array([row[pool.ids[positions[number]]] for number in known], np.int64)
    if space is not None:
        targets = np.array(vectors, np.float32)
        targets[rows] = space.projection.transform(answers[known])
        return Taught(images, targets)
    return Taught(images, joined_answers(vectors, answers[known], rows), vectors.shape[1])


def _centred(settings: Settings, vectors: np.ndarray) -> np.ndarray:
    if settings.student.hash_bits and not compares(settings):
        # Bits are set in half of the images, so cosines of codes spread about 0, and those of the targets shall too.
        return vectors - vectors.mean(axis=0)
    return vectors


def ordered_lists(settings: Settings, workdir: Workdir, pool: ImageSet) -> tuple[ImageSet, np.ndarray]:
    """Returns the images that orders are about, and the orders: int64 [n, 1 + k], a query and its candidates each.

    Raises:
        ArgumentError: nothing was asked yet.
        KdistillError: an answer about an image that is not in the pool.
    """
    answers = comparisons(settings, workdir)
    lists = np.concatenate([answers["query_ids"][:, None], answers["candidate_ids"]], axis=1)
    ids, rows = np.unique(lists, return_inverse=True)
    place = {name: position for position, name in enumerate(pool.ids)}
    return pool.subset(places_of(ids, place, workdir.answers).tolist()), rows.reshape(lists.shape)


def readable_lists(lists: np.ndarray, readable: np.ndarray) -> np.ndarray:
    """Returns the lists (int [n, 1 + k]) of which every image could be read, as rows of the readable (int [m])."""
    row = {int(image): number for number, image in enumerate(readable)}
    whole = [one for one in lists.tolist() if all(image in row for image in one)]
    return np.array([[row[image] for image in one] for one in whole], np.int64).reshape(len(whole), lists.shape[1])
