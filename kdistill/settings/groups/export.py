"""Settings of the files that are handed on."""

import dataclasses
from typing import Literal

from kdistill.settings.setting import setting


@dataclasses.dataclass(frozen=True)
class ExportSettings:
    """What the exported files hold."""

    gallery_precision: Literal["auto", "float32", "float16", "int8", "binary", "asymmetric"] = setting(
        "auto",
        "How the retriever stores its gallery: float32, float16, int8, codes (binary, asymmetric), or auto (codes of a "
        "student that makes them, else int8 from 50,000 rows on, else float32).",
    )
    converter: Literal["tf", "litert"] = setting(
        "tf",
        "What makes the files of a network: tf, the converter inside TensorFlow and tf2onnx, or litert, LiteRT's own "
        "converter and jax2onnx, which need neither (extra litert; Keras 3).",
    )
    shards: int = setting(
        0, "Files that the retriever is spread over; 0 for as few as hold its gallery.", low=0, high=10_000
    )
    export_if_not_better: bool = setting(
        False,
        "Hand on a student that is not better than the same network before distillation; without it nothing is "
        "exported then, and the exit status is 3.",
        decides=False,
    )
    top_k: int = setting(10, "Neighbours that the exported retriever returns.", low=1)


@dataclasses.dataclass(frozen=True)
class MeasuringSettings:
    """How the exported files are measured."""

    benchmark_runs: int = setting(50, "Timed runs for each file.", low=1, high=1_000_000)
    benchmark_threads: int = setting(1, "Threads of each runtime.", low=1, high=1024)
