"""Settings of teachers that only compare."""

import dataclasses
from typing import Literal

from kdistill.settings.setting import setting


@dataclasses.dataclass(frozen=True)
class ComparingSettings:
    """What a teacher is asked that ranks candidates or compares two of them, and who learns from it first."""

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
    ranker_backbone: (
        Literal["small_cnn", "mobilenet_v1", "mobilenet_v2", "mobilenet_v3_small", "resnet50_v2"] | None
    ) = setting(
        None,
        "order, pairs: network of the ranker, a larger temporary student that learns the answers and then teaches "
        "vectors; empty (order only): the student learns the orders itself.",
    )
    ranker_alpha: float = setting(1.0, "Width multiplier of the ranker's backbone.", above=0)
    ranker_image_size: int = setting(224, "Side in pixels of the ranker's input.", low=8, high=4096)
    ranker_weights: str | None = setting(
        None, "Weights of the ranker's backbone: a .weights.h5 file, imagenet, or empty (random)."
    )
    ranker_steps: int = setting(300, "Training steps of the ranker.", low=1)
