"""How one run judges embeddings: its gallery, its queries, and what counts as right."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from kdistill.data import ImageSet, RetrievalData
from kdistill.evaluation import (
    RetrievalScores,
    evaluate_leave_one_out,
    evaluate_query_gallery,
    evaluate_revisited,
    nearest_neighbours,
)
from kdistill.evaluation.agreement import teacher_agreement
from kdistill.evaluation.blockwise.memory import in_smaller_blocks

NEIGHBOURS_SHOWN = 8


@dataclasses.dataclass(frozen=True)
class Vectors:
    """Embeddings of what is searched and what searches.

    Attributes:
        gallery: float32 [G, D].
        queries: float32 [Q, D], or None: the gallery searches itself, leave-one-out. In a run without queries they are
            what the images of the gallery search by, row by row.
    """

    gallery: np.ndarray
    queries: np.ndarray | None


class Judge:
    """Scores any model on the images of a run by the same rules."""

    def __init__(self, data: RetrievalData, max_memory_mb: int, searching: np.ndarray | None = None) -> None:
        """Takes the images (all readable) and the MiB that an evaluation may take beside its inputs.

        `searching` are the places of the images that search, int64 [q], of the queries or, leave-one-out, of the
        gallery; None for all (see `drawn_queries`).
        """
        self.data, self.searching = data, searching
        self.max_memory_mb = max_memory_mb

    def embed(self, embed: Callable[[ImageSet, str], np.ndarray]) -> Vectors:
        """Embeds gallery and queries with a function (images, what they are) -> float32 [n, D]."""
        queries = None if self.data.queries is None else embed(self.data.queries, "queries")
        return Vectors(embed(self.data.gallery, "gallery"), queries)

    def figures(self, vectors: Vectors, teacher: Vectors | None = None) -> dict[str, float]:
        """Returns all measures that labels give and the agreement with the teacher, as far as there are any."""
        if self.data.labelled:
            return self.scores(vectors, teacher).as_dict()
        if teacher is None:
            return {}
        return in_smaller_blocks(lambda most: self._agreement(vectors, teacher, most), self.max_memory_mb)

    def _agreement(self, vectors: Vectors, teacher: Vectors, max_memory_mb: int) -> dict[str, float]:
        chosen = slice(None) if self.searching is None else self.searching
        ours, theirs = (
            ((one.gallery if one.queries is None else one.queries)[chosen], one.gallery) for one in (vectors, teacher)
        )
        exclude = np.arange(len(vectors.gallery))[chosen] if self.data.queries is None else None
        return teacher_agreement(ours, theirs, exclude=exclude, max_memory_mb=max_memory_mb)

    def scores(self, vectors: Vectors, teacher: Vectors | None = None) -> RetrievalScores:
        """Returns all measures, and the agreement with the teacher where its vectors are given."""
        return in_smaller_blocks(lambda most: self._scores(vectors, teacher, most), self.max_memory_mb)

    def _scores(self, vectors: Vectors, teacher: Vectors | None, max_memory_mb: int) -> RetrievalScores:
        options: dict[str, Any] = {"max_memory_mb": max_memory_mb}
        if self.data.queries is None:
            labels = np.asarray(self.data.gallery.labels)
            options["searching"] = self.searching
            options["teacher"] = None if teacher is None else teacher.gallery
            return evaluate_leave_one_out(vectors.gallery, labels, queries=vectors.queries, **options)
        assert vectors.queries is not None
        chosen = slice(None) if self.searching is None else self.searching
        if teacher is not None and teacher.queries is not None:
            options["teacher"] = (teacher.queries[chosen], teacher.gallery)
        if self.data.truth is not None:
            return evaluate_revisited(vectors.queries, vectors.gallery, self.data.truth, **options)
        return evaluate_query_gallery(
            vectors.queries[chosen],
            vectors.gallery,
            np.asarray(self.data.queries.labels)[chosen],
            np.asarray(self.data.gallery.labels),
            **options,
        )

    def neighbours(self, vectors: Vectors, queries: np.ndarray) -> list[dict[str, Any]]:
        """Returns what the queries at these positions (int [n]) find, as plain objects for JSON.

        Each has `query` (id), `label`, and `found`: objects with `id`, `score` and `right` (None for junk).
        """
        leave_one_out = self.data.queries is None
        searching = vectors.gallery if vectors.queries is None else vectors.queries
        count = min(NEIGHBOURS_SHOWN, len(vectors.gallery) - leave_one_out)
        scores, indices = nearest_neighbours(
            searching[queries], vectors.gallery, count, exclude=queries if leave_one_out else None
        )
        images = self.data.gallery if self.data.queries is None else self.data.queries
        return [
            {
                "query": images.ids[query],
                "label": "" if images.labels is None else str(images.labels[query]),
                "found": [
                    {"id": self.data.gallery.ids[index], "score": float(score), "right": self._right(query, index)}
                    for score, index in zip(scores[row], indices[row], strict=True)
                ],
            }
            for row, query in enumerate(queries)
        ]

    def _right(self, query: int, index: int) -> bool | None:
        if self.data.truth is not None:
            if index in self.data.truth.junk[query]:
                return None
            return index in self.data.truth.easy[query] or index in self.data.truth.hard[query]
        searching = self.data.gallery if self.data.queries is None else self.data.queries
        return bool(np.asarray(searching.labels)[query] == np.asarray(self.data.gallery.labels)[index])


def drawn_queries(data: RetrievalData, most: int, seed: int) -> np.ndarray | None:
    """Returns which images search, int64 [most], ascending, drawn by the seed; None for all.

    All do where they are no more than `most`, or `most` is 0, and in the revisited form, whose queries are given.
    """
    count = len(data.gallery if data.queries is None else data.queries)
    if not most or count <= most or data.truth is not None:
        return None
    return np.sort(np.random.default_rng(seed).permutation(count)[:most])
