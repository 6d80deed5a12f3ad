"""What the stage `ask` left: the vectors that a teacher gave, about which images of the pool."""

from pathlib import Path

import numpy as np

from kdistill.data import ImageSet
from kdistill.errors import KdistillError
from kdistill.files.archives import load_arrays
from kdistill.settings import Settings
from kdistill.stages.asking.edited import unchanged_rows
from kdistill.stages.workdir import Workdir
from kdistill.teachers.whitening import fit_whitening


def answered_vectors(settings: Settings, workdir: Workdir, pool: ImageSet) -> tuple[np.ndarray, np.ndarray]:
    """Returns positions in the pool int64 [n] and the teacher's vectors of these images, float32 [n, Dt].

    Images that were changed since are left out, and told of.

    Raises:
        ArgumentError: nothing was asked yet.
        KdistillError: answers of another kind, or about an image that is not in the pool.
    """
    file = workdir.needs(workdir.answers, "ask")
    names, embeddings, contents = load_arrays(file, ("ids", "embeddings", "contents"))
    places = {name: index for index, name in enumerate(pool.ids)}
    positions = places_of(names, places, file)
    rows = unchanged_rows(pool.subset(positions.tolist()), contents, strict=settings.run.strict)
    positions, embeddings = positions[rows], embeddings[rows]
    if settings.training.whiten_teacher:
        embeddings = fit_whitening(embeddings).transform(embeddings)
    return positions, embeddings


def comparisons(settings: Settings, workdir: Workdir) -> dict[str, np.ndarray]:
    """Returns what a teacher that compares has said: the arrays of `answers.npz` by name.

    Raises:
        ArgumentError: nothing was asked yet.
        KdistillError: answers of another kind.
    """
    with np.load(workdir.needs(workdir.answers, "ask"), allow_pickle=False) as arrays:
        answers = dict(arrays)
    expected = "candidate_ids" if settings.teacher.teacher_answers == "order" else "probability"
    if expected not in answers:
        raise KdistillError(
            f"{workdir.answers} holds no answers of the kind --teacher_answers={settings.teacher.teacher_answers}"
        )
    return answers


def places_of(ids: np.ndarray, place: dict[str, int], file: Path) -> np.ndarray:
    """Returns the place of each name that stands in a file of answers, int64 of the shape of `ids`.

    Raises:
        KdistillError: an answer about an image that is not in the pool.
    """
    missing = next((name for name in ids.reshape(-1).tolist() if name not in place), None)
    if missing is not None:
        raise KdistillError(f"{file} has an answer about {missing!r}, which is not in the pool")
    return np.array([place[name] for name in ids.reshape(-1).tolist()], np.int64).reshape(ids.shape)
