"""Vectors of the teacher that are there already: of photos at hand they are answers at no question."""

import numpy as np
from absl import logging

from kdistill.data import ImageSet
from kdistill.errors import KdistillError
from kdistill.settings import Settings
from kdistill.teachers import Ledger, Teacher
from kdistill.teachers.choosing.planning import question_contents
from kdistill.teachers.ledger.records import Question
from kdistill.teachers.providers.table import TableTeacher

_BLOCK = 8192


def gallery_table(settings: Settings, dimension: int | None) -> TableTeacher | None:
    """Opens the table of `--gallery_vectors`; None where none is named.

    Args:
        settings: of the run.
        dimension: Dt, where the teacher says it.

    Raises:
        KdistillError: no such table, of another dimension than the teacher's, or with rows that are not finite or 0.
    """
    path = settings.space.gallery_vectors
    if path is None:
        return None
    try:
        table = TableTeacher(path)
    except KdistillError as error:
        raise KdistillError(f"--gallery_vectors={path}: {error}") from error
    if dimension is not None and table.dimension != dimension:
        raise KdistillError(
            f"--gallery_vectors={path} holds vectors of {table.dimension} dimensions, and the teacher's have "
            f"{dimension}"
        )
    for first in range(0, len(table.vectors), _BLOCK):
        lengths = np.linalg.norm(np.asarray(table.vectors[first : first + _BLOCK], np.float64), axis=1)
        bad = np.flatnonzero(~(np.isfinite(lengths) & (lengths > 0)))
        if len(bad):
            raise KdistillError(f"--gallery_vectors={path}: row {first + bad[0]} is all 0, or not finite")
    return table


def add_known(
    table: TableTeacher | None, images: ImageSet, teacher: Teacher, ledger: Ledger, account: str
) -> np.ndarray:
    """Writes the vectors of images that the table names into the ledger, as paid elsewhere.

    Args:
        table: of `gallery_table`.
        images: photos at hand.
        teacher: whose vectors they are.
        ledger: where answers are kept.
        account: that they stand in.

    Returns:
        int64 [k], ascending: positions of the images whose vector was known before.

    Raises:
        KdistillError: the ledger is another teacher's, or holds answers of another dimension.
    """
    if table is None:
        return np.zeros(0, np.int64)
    rows = table.rows_of(images.ids)
    named = np.flatnonzero(rows >= 0)
    contents, _ = question_contents(images, named, strict=False) if len(named) else ({}, {})
    readable = [int(position) for position in named if int(position) in contents]
    if not readable:
        logging.warning("%s names none of the %d images at hand", table.path, len(images))
        return np.zeros(0, np.int64)
    ledger.bind(teacher.name, teacher.view, table.dimension)
    # One question for images of equal content, that of the first of them.
    distinct = {contents[position]: position for position in reversed(readable)}
    asked = [Question(content, images.ids[position]) for content, position in distinct.items()]
    vectors = np.asarray(table.vectors[rows[list(distinct.values())]], np.float32)
    new = ledger.add_paid_elsewhere(asked, vectors, [account] * len(asked))
    logging.info("%d vectors were known before (%s), %d of them new to the ledger", len(readable), account, new)
    return np.array(readable, np.int64)


def beside_known(images: ImageSet, known: np.ndarray) -> np.ndarray:
    """Returns int64 [n - k], the positions of the images that are not at these positions."""
    return np.setdiff1d(np.arange(len(images)), known)
