"""Relevance in the revisited Oxford and Paris form."""

import dataclasses
from typing import Any

import numpy as np

from kdistill.errors import KdistillError

GRADES = ("easy", "hard", "junk")


@dataclasses.dataclass(frozen=True, eq=False)
class RevisitedTruth:
    """What is relevant to each of Q queries: sorted gallery indices, int64 [n], one array a query.

    Attributes:
        easy: clearly visible from a similar view.
        hard: visible, but small, occluded, or from another view.
        junk: neither relevant nor irrelevant (the query itself, for one); taken out of the ranking.
    """

    easy: tuple[np.ndarray, ...]
    hard: tuple[np.ndarray, ...]
    junk: tuple[np.ndarray, ...]

    def __post_init__(self) -> None:
        """Sorts the indices and checks that no image has two grades for one query.

        Raises:
            KdistillError: differing numbers of queries, a negative index, or an image that is listed twice.
        """
        if not len(self.easy) == len(self.hard) == len(self.junk):
            raise KdistillError("easy, hard and junk are given for different numbers of queries")
        for grade in GRADES:
            sorted_lists = tuple(np.sort(_integers(indices, grade)) for indices in getattr(self, grade))
            object.__setattr__(self, grade, sorted_lists)
        for query in range(len(self)):
            labelled = self.labelled(query)
            if len(labelled) and labelled.min() < 0:
                raise KdistillError(f"query {query} of the ground truth names the image {labelled.min()}")
            values, counts = np.unique(labelled, return_counts=True)
            if len(counts) and counts.max() > 1:
                twice = values[np.argmax(counts)]
                raise KdistillError(f"query {query} of the ground truth names the image {twice} more than once")

    def __len__(self) -> int:
        """Returns Q."""
        return len(self.easy)

    def labelled(self, query: int) -> np.ndarray:
        """Returns int64 [n]: the query's easy, hard and junk images, in this order."""
        return np.concatenate([self.easy[query], self.hard[query], self.junk[query]])

    def check_gallery(self, size: int) -> None:
        """Raises KdistillError if an index does not lie in a gallery of this size."""
        for query in range(len(self)):
            highest = self.labelled(query).max(initial=-1)
            if highest >= size:
                raise KdistillError(
                    f"query {query} of the ground truth names the image {highest}, and the gallery has {size}"
                )

    def restricted_to(self, queries: np.ndarray, gallery: np.ndarray) -> "RevisitedTruth":
        """Returns the truth for a part of the queries and of the gallery, when some images could not be read.

        Args:
            queries: int64 [q], positions of the queries that remain, in their new order.
            gallery: int64 [g], ascending positions of the gallery images that remain. Images that are gone are
                neither found nor missed.
        """

        def renumbered(indices: np.ndarray) -> np.ndarray:
            kept = indices[np.isin(indices, gallery)]
            return np.searchsorted(gallery, kept)

        return RevisitedTruth(
            *(tuple(renumbered(getattr(self, grade)[int(query)]) for query in queries) for grade in GRADES)
        )


def _integers(values: Any, grade: str) -> np.ndarray:
    try:
        array = np.asarray(values).reshape(-1)
    except ValueError:  # lists of different lengths
        array = np.array([None])
    if not array.size:
        return np.empty(0, np.int64)
    if array.dtype.kind not in "iuf" or np.any(array != np.floor(array)) or np.abs(array).max() >= 2**62:
        raise KdistillError(f"a list {grade!r} of the ground truth holds something else than positions of images")
    return array.astype(np.int64)
