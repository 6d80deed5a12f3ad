"""Settings of the files that are handed on."""

import dataclasses
from typing import Literal

from kdistill.settings.setting import setting


@dataclasses.dataclass(frozen=True)
class ExportSettings:
    """What the exported files hold."""

    gallery_precision: Literal["auto", "float32", "int8", "asymmetric", "hamming"] = setting(
        "auto",
        "How the retriever stores its gallery: float32, int8, codes (asymmetric, hamming), or auto (codes for a "
        "student of codes, int8 for a large gallery).",
    )
    shards: int = setting(
        0, "Files that the retriever is spread over; 0 for as few as hold its gallery.", low=0, high=10_000
    )
    top_k: int = setting(10, "Neighbours that the exported retriever returns.", low=1, common=True)


@dataclasses.dataclass(frozen=True)
class MeasuringSettings:
    """How the exported files are measured."""

    benchmark_runs: int = setting(50, "Timed runs for each file.", low=1, high=1_000_000)
    benchmark_threads: int = setting(1, "Threads of each runtime.", low=1, high=1024)
