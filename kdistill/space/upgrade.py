"""When a teacher changes: what a map from its old space to the new one keeps, by how many images are asked again."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from kdistill.errors import ArgumentError, KdistillError
from kdistill.evaluation.agreement import teacher_agreement
from kdistill.evaluation.blockwise.similarity import unit_rows
from kdistill.space.maps import MAPS
from kdistill.teachers.providers.table import TableTeacher

FEWEST = 20
"""Images that judge, at least."""


@dataclasses.dataclass(frozen=True)
class Kept:
    """What is left of the new neighbours when only some images are asked again.

    Attributes:
        asked: images whose new vector is known; the map is fitted to them.
        name: of the map.
        cosine: mean between mapped and new vectors of the images that judge.
        overlap: share of their ten nearest by the new vectors that a new query finds in a gallery of mapped vectors.
        overlap_mixed: the same where the images that were asked again stand in the gallery with their new vectors.
    """

    asked: int
    name: str
    cosine: float
    overlap: float
    overlap_mixed: float


def pairs(old: TableTeacher, new: TableTeacher) -> tuple[np.ndarray, np.ndarray]:
    """Returns the vectors of the images that both tables name, float32 [n, Do] and [n, Dn] of unit length.

    Raises:
        KdistillError: too few of them.
    """
    rows = new.rows_of(old.ids)
    shared = np.flatnonzero(rows >= 0)
    if len(shared) < FEWEST + 2:
        raise KdistillError(
            f"{old.path} and {new.path} share {len(shared)} ids; a map and its judgement take {FEWEST + 2} or more"
        )
    first, second = np.asarray(old.vectors[shared]), np.asarray(new.vectors[rows[shared]])
    return np.asarray(unit_rows(first), np.float32), np.asarray(unit_rows(second), np.float32)


def what_maps_keep(
    old: np.ndarray, new: np.ndarray, counts: Sequence[int], *, judges: int, seed: int = 0
) -> list[Kept]:
    """Judges every map by images that it was not fitted to.

    Args:
        old: float32 [n, Do], vectors of the images in the old space.
        new: float32 [n, Dn], in the new one.
        counts: how many images are asked again, each a part of the next larger one.
        judges: images that search, never fitted to.
        seed: of which images these are.

    Raises:
        ArgumentError: more images than there are, or too few that judge.
    """
    if judges < FEWEST or judges + max(counts) > len(old) or min(counts) < 2:
        raise ArgumentError(
            f"of {len(old)} images {judges} are to judge ({FEWEST} or more) and {min(counts)} to {max(counts)} to be "
            "asked again (2 or more); together they are no more than there are"
        )
    order = np.random.default_rng(seed).permutation(len(old))
    searching, left = order[:judges], order[judges:]
    queries, truth = new[searching], (new[searching], new)
    found = []
    for count in sorted(counts):
        asked = left[:count]
        for name, fit in MAPS.items():
            mapped = fit(old[asked], new[asked])(old)
            mixed = mapped.copy()
            mixed[asked] = new[asked]
            overlaps = [
                teacher_agreement((queries, gallery), truth, exclude=searching)["teacher_overlap_at_10"]
                for gallery in (mapped, mixed)
            ]
            cosine = float(np.mean(np.sum(mapped[searching] * queries, axis=1)))
            found.append(Kept(count, name, cosine, overlaps[0], overlaps[1]))
    return found
