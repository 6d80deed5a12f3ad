"""What every evaluation returns: one primary number, and all the others beside it."""

import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True)
class RetrievalScores:
    """Retrieval quality of one set of embeddings.

    Attributes:
        map: the primary number. For class labels, the mean of the plain average precision over the whole ranking;
            under the revisited protocol, the mean of the trapezoid average precision at the medium level.
        queries: how many queries the means are over (those with at least one positive; medium level under the
            revisited protocol).
        details: every other measure by its name, each a mean over queries. All lie in [0, 1], except
            `teacher_kendall_tau_100` in [-1, 1].
    """

    map: float
    queries: int
    details: Mapping[str, float]

    def as_dict(self) -> dict[str, float]:
        """Returns name -> value with `map` first; the form that `metrics.json` and training logs hold."""
        return {"map": self.map, **self.details}
