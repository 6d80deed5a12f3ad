"""Settings of the joint space: mixtures, what ranks what, and the bank."""

import dataclasses
from typing import Literal

from kdistill.settings.setting import setting


@dataclasses.dataclass(frozen=True)
class JointSpaceSettings:
    """The rows that the student learns to rank."""

    mixtures: int = setting(64, "Mixtures a step; 0 trains on original rows only.", low=0, high=1_000_000, common=True)
    mixing: Literal["beta", "uniform", "fixed"] = setting(
        "beta", "Distribution of the weight λ: beta, uniform or fixed (one half)."
    )
    mixing_alpha: float = setting(0.3, "beta: a of beta(a, a).", above=0, high=1e6)
    pairing: Literal["random", "teacher_knn", "far"] = setting(
        "random", "Which rows are mixed: random, teacher_knn or far."
    )
    renormalise: bool = setting(
        True, "Give mixtures unit length; only losses with similarity=dot can tell the difference."
    )
    anchors: Literal["originals", "mixtures", "both"] = setting(
        "originals", "Rows that rank: originals, mixtures or both."
    )
    rank_against: Literal["originals", "mixtures", "both"] = setting(
        "both", "Rows that are ranked: originals, mixtures or both."
    )
    rank_parents: bool = setting(False, "Rank mixtures against their own parents too.")
    bank_size: int = setting(
        1024, "Past rows that are ranked as well; 0 for none.", low=0, high=10_000_000, common=True
    )
