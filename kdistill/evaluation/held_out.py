"""Judging without labels: by the teacher's own answers for photos that the student never learned from."""

import dataclasses

import numpy as np

from kdistill.errors import KdistillError
from kdistill.evaluation.agreement import kendall_tau
from kdistill.evaluation.blockwise.similarity import unit_rows
from kdistill.evaluation.neighbours import nearest_neighbours

DEPTH = 10
"""Neighbours that are compared; fewer where fewer than 41 photos are held out: a quarter of the others."""

_RESAMPLES = 2000
_LEVEL = 95.0


@dataclasses.dataclass(frozen=True)
class HeldOutAgreement:
    """How a model's neighbours agree with the teacher's, photo by photo; each searches among all the others.

    Attributes:
        overlap: float64 [n], share of the teacher's first DEPTH neighbours that are among the model's first DEPTH.
        first: bool [n], whether the teacher's first neighbour is among the model's first DEPTH.
        tau: float64 [n], Kendall's tau-b between both models' scores of the teacher's first DEPTH neighbours.
        depth: how many neighbours were compared.
    """

    overlap: np.ndarray
    first: np.ndarray
    tau: np.ndarray
    depth: int = DEPTH

    def as_dict(self, seed: int = 0) -> dict[str, float]:
        """Returns `overlap_at_10` with its 95 % interval (`_low`, `_high`), `first_in_10` and `kendall_tau_10`.

        The interval is a percentile bootstrap over the photos (Efron & Tibshirani, 1993), drawn by `seed`.
        """
        low, high = bootstrap_interval(self.overlap, seed)
        return {
            f"overlap_at_{DEPTH}": float(self.overlap.mean()),
            f"overlap_at_{DEPTH}_low": low,
            f"overlap_at_{DEPTH}_high": high,
            f"first_in_{DEPTH}": float(self.first.mean()),
            f"kendall_tau_{DEPTH}": float(self.tau.mean()),
        }


def held_out_agreement(student: np.ndarray, teacher: np.ndarray, queries: np.ndarray | None = None) -> HeldOutAgreement:
    """Compares two models on photos that neither learned from.

    With 100 photos the overlap ranks students nearly as the labels of a test set do (docs/evaluation.md);
    correlations of all similarities do not.

    Args:
        student: float [n, Ds], a model's embeddings of the photos.
        teacher: float [n, Dt], the teacher's answers, row by row.
        queries: float [n, Ds], what the photos search by where it is not their row in `student`.

    Raises:
        KdistillError: different numbers of photos, or fewer than 3.
    """
    if len(student) != len(teacher):
        raise KdistillError(f"{len(student)} photos were embedded and {len(teacher)} answers are held out")
    if len(student) < 3:
        raise KdistillError(f"{len(student)} held-out answers say nothing; it takes at least 3")
    own = np.arange(len(student))
    depth = min(DEPTH, max(1, (len(student) - 1) // 4))
    teacher_scores, wanted = nearest_neighbours(teacher, teacher, depth, exclude=own)
    searching = student if queries is None else queries
    _, found = nearest_neighbours(searching, student, depth, exclude=own)
    unit, asking = (np.asarray(unit_rows(rows), np.float32) for rows in (student, searching))
    shared = wanted[:, :, None] == found[:, None, :]
    tau = [kendall_tau(teacher_scores[row], unit[wanted[row]] @ asking[row]) for row in range(len(unit))]
    return HeldOutAgreement(shared.any(axis=2).mean(axis=1), shared[:, 0].any(axis=1), np.array(tau), depth)


def bootstrap_interval(values: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """Returns the 95 % percentile interval of the mean of values [n], by resampling them with replacement."""
    random = np.random.default_rng(seed)
    means = values[random.integers(0, len(values), (_RESAMPLES, len(values)))].mean(axis=1)
    low, high = np.percentile(means, [(100 - _LEVEL) / 2, (100 + _LEVEL) / 2])
    return float(low), float(high)


def gain_interval(after: HeldOutAgreement, before: HeldOutAgreement, seed: int = 0) -> tuple[float, float, float]:
    """Returns the gain in overlap of one model over another on the same photos, and its 95 % interval.

    Photo by photo, so that what makes a photo easy for both does not count as noise.
    """
    gain = after.overlap - before.overlap
    return float(gain.mean()), *bootstrap_interval(gain, seed)
