"""Settings of the files that are handed on."""

import dataclasses

from kdistill.settings.setting import setting


@dataclasses.dataclass(frozen=True)
class ExportSettings:
    """What the exported files hold."""

    top_k: int = setting(10, "Neighbours that the exported retriever returns.", low=1, common=True)


@dataclasses.dataclass(frozen=True)
class MeasuringSettings:
    """How the exported files are measured."""

    benchmark_runs: int = setting(50, "Timed runs for each file.", low=1, high=1_000_000)
    benchmark_threads: int = setting(1, "Threads of each runtime.", low=1, high=1024)
