"""Scores by the teacher's answers about photos that were held out; no label is needed."""

import numpy as np

from kdistill.data import RetrievalData
from kdistill.evaluation.held_out import HeldOutAgreement, held_out_agreement
from kdistill.stages.asking.held_out import held_out_answers
from kdistill.stages.judging.judge import Vectors
from kdistill.stages.workdir import Workdir


class HeldOutJudge:
    """Compares any model's neighbours among the photos that judge with those by the teacher's answers.

    Attributes:
        positions: int64 [n], where these photos stand in the gallery.
        answers: float32 [n, Dt].
    """

    def __init__(self, data: RetrievalData, ids: list[str], answers: np.ndarray) -> None:
        """Takes the run's readable images; photos that can no longer be read judge no more."""
        place = {name: position for position, name in enumerate(data.gallery.ids)}
        readable = [row for row, name in enumerate(ids) if name in place]
        self.positions = np.array([place[ids[row]] for row in readable], np.int64)
        self.answers = answers[readable]
        self._leave_one_out = data.queries is None

    @classmethod
    def of(cls, data: RetrievalData, workdir: Workdir) -> "HeldOutJudge | None":
        """Returns the judge of a run; None where nothing is held out."""
        found = held_out_answers(workdir)
        return None if found is None else cls(data, *found)

    def across(self, gallery: np.ndarray, queries: np.ndarray) -> HeldOutAgreement:
        """Returns how the photos' neighbours agree with the teacher's where others' vectors are searched.

        Args:
            gallery: float [n, D], what is searched, row by row of these photos.
            queries: float [n, D], what they search by.
        """
        return held_out_agreement(gallery, self.answers, queries)

    def agreement(self, vectors: Vectors) -> HeldOutAgreement:
        """Returns how a model's neighbours agree with the teacher's."""
        queries = vectors.queries[self.positions] if self._leave_one_out and vectors.queries is not None else None
        return held_out_agreement(vectors.gallery[self.positions], self.answers, queries)
