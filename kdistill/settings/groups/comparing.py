"""Settings of teachers that only compare."""

import dataclasses
from typing import Literal

from kdistill.settings.setting import setting


@dataclasses.dataclass(frozen=True)
class ComparingSettings:
    """What a teacher is asked that ranks candidates or compares two of them."""

    candidates: int = setting(
        20, "order, pairs: images that are compared for one query, those that the student itself finds nearest.", low=2
    )
    pair_queries: int = setting(100, "pairs: query images that --query_budget is spread over.", low=1)
    pair_sampler: Literal["uniform", "rr", "rr_sum", "rr_diff"] = setting(
        "rr_sum", "pairs: which are asked, by the ranks of the two candidates: uniform, rr, rr_sum or rr_diff."
    )
    pair_both_ways: bool = setting(
        False, "pairs: ask each one in both orders, which costs two questions and finds contradictions."
    )
    pair_tie_margin: float = setting(0.0, "pairs: a probability this near to 0.5 is a tie.", low=0, high=0.5)
