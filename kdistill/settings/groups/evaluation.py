"""Settings of how the student is judged."""

import dataclasses
from typing import Literal

from kdistill.settings.setting import setting


@dataclasses.dataclass(frozen=True)
class EvaluationSettings:
    """Rows of the table beside the student's own."""

    scales: tuple[float, ...] = setting(
        (1.0,),
        "Input scales whose embeddings are averaged in a further row of the evaluation, such as 1,0.7071,0.5.",
        above=0,
        high=8,
    )
    whiten: Literal["none", "pca", "learned"] = setting(
        "none", "Whiten the student's embeddings in a further row: none, pca, or learned (from pairs of one class)."
    )
    whiten_dir: str | None = setting(
        None,
        "Folder of images to fit the whitening on; empty: the pool (pca) or the validation images (learned).",
    )
    whiten_dim: int = setting(0, "Dimensions that whitening keeps; 0 for all.", low=0, high=65_536)
    whiten_shrinkage: float | None = setting(
        None,
        "0 to 1: how far whitening trusts its few images less than their average; left out: what the images at hand "
        "need (Ledoit and Wolf).",
        low=0,
        high=1,
    )
    most_queries: int = setting(
        20_000,
        "Images that search in the evaluation, at most, drawn by the seed; 0 for all. Each searches the whole gallery.",
        low=0,
    )
    max_memory_mb: int = setting(
        512,
        "MiB that an evaluation may take beside its inputs, and decoded photos in training; what is more stays on the "
        "disk (--cache_gb).",
        low=1,
        high=1_000_000_000,
        decides=False,
    )
    score_teacher: Literal["yes", "no", "auto"] = setting(
        "auto",
        "Give the teacher a row in the table: yes, no, or auto (where it runs here and charges nothing).",
    )
    scoring_budget: int = setting(
        0,
        "With --score_teacher=yes and a teacher that may charge: how many questions its row may take. They go through "
        "the ledger, in an account of their own.",
        low=0,
    )
