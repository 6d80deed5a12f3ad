"""Settings of the questions and what they cost."""

import dataclasses
from typing import Literal

from kdistill.settings.setting import setting


@dataclasses.dataclass(frozen=True)
class AskingSettings:
    """How many questions are asked, which, and where the answers are kept."""

    query_budget: int = setting(100, "How many questions the teacher may be asked.", low=1, common=True)
    judge_queries: int | None = setting(
        None,
        "How many photos of the gallery are held out: asked about beside --query_budget, in an account of their own, "
        "never learned from, and what the student is judged by; empty: 64 to 100 by the gallery's size (a quarter of a "
        "small one), none where labels judge; 0: none.",
        low=0,
        common=True,
    )
    selection: Literal["random", "k-center", "k-means++", "density"] = setting(
        "random", "How the images to ask about are chosen: random, k-center, k-means++ or density.", common=True
    )
    price_per_query: float = setting(0.0, "What one answer costs, in your currency.", low=0, common=True, decides=False)
    dry_run: bool = setting(
        False, "With --stages=ask: say what would be asked and at what cost, and ask nothing.", common=True,
        decides=False,
    )  # fmt: skip
    ask_batch_size: int = setting(
        32, "Images in one question to the teacher; a crash can lose the answers of one.", low=1, decides=False
    )
    concurrency: int = setting(
        1,
        "Requests to a service or function that may be under way at once; a crash can lose the answers of each.",
        low=1,
        high=256,
        decides=False,
    )
    ledger: str | None = setting(
        None,
        "Where the answers are kept: a file, or a postgresql+psycopg:// address that several machines share (the "
        "password stands better in PGPASSWORD or ~/.pgpass); empty: ledger.sqlite in --workdir.",
        decides=False,
    )
    engine: Literal["local", "ray"] = setting(
        "local", "What asks the teacher: local (this process), or ray (actors, on all machines of a Ray cluster).",
        decides=False,
    )  # fmt: skip
    actors: int = setting(0, "ray: processes that ask; 0 for one a core of the cluster.", low=0, decides=False)
