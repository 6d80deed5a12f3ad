"""How certain a measured recall is, and the record of what was measured."""

import dataclasses
import math
from typing import Any

import numpy as np

CONFIDENCE = 0.95
_RESAMPLES = 2000


@dataclasses.dataclass(frozen=True)
class Measured:
    """What the search of an int8 gallery was measured to find, when the gallery was built.

    Attributes:
        k: neighbours in an answer.
        rows: of the gallery that was measured.
        shortlist: rows that are ranked again for k neighbours.
        bound: lower bound of recall@k, the least over the kinds of queries.
        confidence: of the bound, for one kind.
        kinds: for each kind of queries (see `outside_queries.py`) their number, their recall and its lower bound.
    """

    k: int
    rows: int
    shortlist: int
    bound: float
    confidence: float
    kinds: dict[str, dict[str, float]]

    def for_k(self, k: int, rows: int) -> int:
        """Returns the rows to rank again for an answer of k neighbours from `rows` rows.

        Where rows were added since, it grows with the root of their number: denser galleries need more.
        """
        grown = math.sqrt(max(1.0, rows / self.rows))
        return min(rows, math.ceil(grown * self.shortlist * k / self.k))


def measured_of(content: Any) -> Measured | None:
    """Returns the record that `dataclasses.asdict` made of a `Measured`; None for None.

    Raises:
        ValueError: it is something else.
    """
    if content is None:
        return None
    try:
        measured = Measured(**content)
        counts = (measured.k, measured.rows, measured.shortlist)
        shares = (measured.bound, measured.confidence)
        numbers = [number for kind in measured.kinds.values() for number in kind.values()]
    except (TypeError, AttributeError) as error:
        raise ValueError("what was measured has another form") from error
    if not all(type(count) is int and count >= 1 for count in counts):
        raise ValueError("a count of what was measured is no positive integer")
    if not all(isinstance(share, float | int) for share in (*shares, *numbers)):
        raise ValueError("what was measured is no number")
    return measured


def lower_bound(shares: np.ndarray, k: int, confidence: float = CONFIDENCE) -> float:
    """Returns a one-sided lower bound of the mean recall.

    The lower one of two: Clopper and Pearson's (1934) for neighbours that are found independently, which is sound
    where all were found; and the bootstrap over queries (Efron 1979), since the neighbours of one query are found or
    lost together.

    Args:
        shares: float [Q], the share of its k neighbours that each query finds.
        k: neighbours of a query.
        confidence: that the mean over all such queries is above the bound.
    """
    from scipy.special import betaincinv

    trials = len(shares) * k
    found = round(float(shares.sum()) * k)
    exact = float(betaincinv(found, trials - found + 1, 1 - confidence)) if found else 0.0
    draws = np.random.default_rng(0).integers(0, len(shares), (_RESAMPLES, len(shares)))
    return min(exact, float(np.quantile(shares[draws].mean(axis=1), 1 - confidence)))
