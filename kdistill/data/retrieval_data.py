"""What a run works on: a pool to learn from, and the images that it is judged by."""

import dataclasses

import numpy as np

from kdistill.data.images import ImageSet
from kdistill.data.labels import numbered
from kdistill.data.layouts.revisited_truth import RevisitedTruth


@dataclasses.dataclass(frozen=True)
class RetrievalData:
    """One data set in its roles.

    Attributes:
        name: how reports call it.
        pool: images without labels; the teacher may be asked about them and the student sees only them. They may be
            the gallery's own.
        gallery: images that are searched, with class labels where there are some.
        queries: images that search, or None: each gallery image searches the others (leave-one-out).
        truth: relevance in the revisited Oxford/Paris form, or None: equal labels are relevant. Without labels that
            tell anything (`labelled`), only the teacher's answers can judge.
        validation: labelled images for choosing settings, or None.

    Labels are integers in all roles: words become numbers, equal ones in all roles for equal words.
    """

    name: str
    pool: ImageSet
    gallery: ImageSet
    queries: ImageSet | None = None
    truth: RevisitedTruth | None = None
    validation: ImageSet | None = None

    def __post_init__(self) -> None:
        """Numbers labels that are words."""
        roles = ("gallery", "queries", "validation")
        sets: list[ImageSet | None] = [getattr(self, role) for role in roles]
        labels = [None if images is None else images.labels for images in sets]
        for role, images, before, after in zip(roles, sets, labels, numbered(labels), strict=True):
            if images is not None and after is not before:
                object.__setattr__(self, role, ImageSet(images.images, after))

    @property
    def labelled(self) -> bool:
        """Whether truth or labels can judge: at least two classes, and something right to be found for some image."""
        if self.truth is not None:
            return True
        searched = self.gallery.labels
        if searched is None:
            return False
        classes, counts = np.unique(searched, return_counts=True)
        if self.queries is None:
            return len(classes) > 1 and bool((counts > 1).any())
        searching = self.queries.labels
        return searching is not None and len(classes) > 1 and bool(np.isin(searching, classes).any())

    @property
    def pool_is_gallery(self) -> bool:
        """Whether the questions are about the images that are searched."""
        return self.pool.ids == self.gallery.ids

    def restricted_to(self, gallery: np.ndarray, queries: np.ndarray | None) -> "RetrievalData":
        """Returns the same data without the images that could not be read.

        Args:
            gallery: int64 [g], ascending positions of the gallery images that remain.
            queries: int64 [q], those of the queries, or None where there are none.
        """
        if self.queries is None or queries is None:
            return dataclasses.replace(self, gallery=self.gallery.subset(gallery))
        return dataclasses.replace(
            self,
            gallery=self.gallery.subset(gallery),
            queries=self.queries.subset(queries),
            truth=None if self.truth is None else self.truth.restricted_to(queries, gallery),
        )
