"""The stage `space`: the dimensions of the teacher's space that are kept, and the vectors that are known in it."""

import dataclasses
from typing import Any

import numpy as np
from absl import logging

from kdistill.evaluation.held_out import held_out_agreement
from kdistill.files.archives import load_arrays
from kdistill.files.whole import write_arrays
from kdistill.settings import Settings
from kdistill.settings.effects import in_teacher_space
from kdistill.space.projection import Projection, fit_projection, read_projection
from kdistill.stages.asking.held_out import held_out_answers
from kdistill.stages.asking.known_before import gallery_table
from kdistill.stages.stage import Result
from kdistill.stages.workdir import Workdir

MOST_KNOWN = 20_000
"""Known vectors that a student ranks in each step, at most; of more so many are taken, evenly spread."""


@dataclasses.dataclass(frozen=True)
class TeacherSpace:
    """The space that a student embeds into.

    Attributes:
        projection: from the teacher's vectors.
        known: float32 [K, D] of unit length, what is ranked against; no vector of a photo that judges.
    """

    projection: Projection
    known: np.ndarray


def find_space(settings: Settings, workdir: Workdir) -> Result:
    """Writes `space.npz`: `axes` float32 [Dt, D], `spanned`, and `known` float32 [K, D].

    The projection is found from the answers and the vectors of `--gallery_vectors`, those of photos that judge left
    out, by their names.

    Raises:
        ArgumentError: nothing was asked yet.
        KdistillError: the table's vectors are of another dimension than the answers.
    """
    ids, answers = load_arrays(workdir.needs(workdir.answers, "ask"), ("ids", "embeddings"))
    held_out = held_out_answers(workdir)
    beside = np.zeros((0, answers.shape[1]), np.float32)
    table = gallery_table(settings, int(answers.shape[1]))
    if table is not None:
        left_out = {*ids.tolist(), *([] if held_out is None else held_out[0])}
        rows = np.array([row for row, name in enumerate(table.ids) if name not in left_out], np.int64)
        room = max(0, MOST_KNOWN - len(answers))
        if len(rows) > room:
            logging.warning("of %d vectors beside the answers %d are ranked, evenly spread", len(rows), room)
            rows = rows[np.linspace(0, len(rows) - 1, room).astype(np.int64)]
        beside = np.asarray(table.vectors[rows], np.float32)
    known = np.concatenate([answers[:MOST_KNOWN], beside])
    projection = fit_projection(known, settings.student.embedding_dim)
    size, dimension = projection.axes.shape
    if projection.spanned < dimension:
        logging.warning(
            "%d known vectors determine %d of the %d dimensions that are kept; more of them (--gallery_vectors) or a "
            "smaller --embedding_dim would make better use of these",
            len(known),
            projection.spanned,
            dimension,
        )
    figures: dict[str, Any] = {
        "teacher_dimension": size,
        "dimension": dimension,
        "known": len(known),
        "known_without_question": len(beside),
    }
    if held_out is not None and not projection.whole:
        kept = held_out_agreement(projection.transform(held_out[1]), held_out[1])
        figures["overlap_kept"] = float(kept.overlap.mean())
    logging.info("the student embeds into %d of the teacher's %d dimensions; %d vectors are known in it",
                 dimension, size, len(known))  # fmt: skip
    spanned = np.array(projection.spanned)
    write_arrays(workdir.space, axes=projection.axes, spanned=spanned, known=projection.transform(known))
    return Result({"space": figures}, [workdir.space])


def read_space(settings: Settings, workdir: Workdir) -> TeacherSpace | None:
    """Returns the space that a run's student embeds into; None for its own.

    Raises:
        ArgumentError: the stage `space` was not run.
    """
    if not in_teacher_space(settings):
        return None
    (known,) = load_arrays(workdir.needs(workdir.space, "space"), ("known",))
    return TeacherSpace(read_projection(workdir.space), known)


def in_space(settings: Settings, space: TeacherSpace | None) -> Settings:
    """Returns the settings with the student's dimensions as the space has them."""
    return settings if space is None else settings.changed(embedding_dim=int(space.projection.axes.shape[1]))
