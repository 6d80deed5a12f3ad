"""What is optional: the extras of setup.cfg, and programs that only some feature needs."""

import importlib.util
from collections.abc import Sequence

EXTRAS = {
    "addons": "losses and optimizers of tensorflow-addons (--loss=Addons>NAME); Python 3.11, an environment of its own",
    "benchmarks": "pictures of python -m benchmarks.SUBJECT",
    "clients": "exported files tested in MediaPipe, OpenVINO and PostgreSQL with pgvector",
    "docs": "make docs: the documentation site; an environment of its own",
    "kerashub": "students and teachers of KerasHub (--backbone=kerashub:PRESET, --trust_packages=keras_hub); Keras 3",
    "litert": "files without TensorFlow's own converter and tf2onnx (--converter=litert); Keras 3",
    "milvus": "python -m export handover --to=milvus",
    "mlflow": "logging to MLflow (--callbacks=kdistill.loggers.mlflow:log)",
    "notebook": "docs/start.ipynb, executed (make docs, make test-long)",
    "parquet": "teacher tables in Parquet, python -m export handover --to=parquet",
    "postgres": "a ledger that several machines share (--ledger=postgresql+psycopg://...)",
    "race": "libraries that the search is raced against (python -m benchmarks.search)",
    "ray": "asking and embedding on a cluster (--engine=ray)",
    "search": "python -m export handover --to=faiss or usearch",
    "wandb": "logging to Weights & Biases (--callbacks=kdistill.loggers.wandb:log)",
    "test": "make test and make lint",
}
"""Extra -> what it is for. `python -m pip install 'kdistill[EXTRA]'` adds it."""

CONVERTER_PACKAGES = ("litert_converter", "ai_edge_quantizer")
"""What --converter=litert imports for .tflite files."""

ONNX_PACKAGES = ("jax2onnx",)
"""What --converter=litert imports for .onnx files."""


def missing_of(extra: str, packages: Sequence[str]) -> str:
    """Returns what of an extra's packages is not installed and how it is had, "" where nothing is missing."""
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    return f"{' and '.join(missing)}: python -m pip install 'kdistill[{extra}]'" if missing else ""


PROGRAMS = {
    "npm": "the search page (--stages=web, python -m export web)",
}
"""Program on the path -> what it is for."""
