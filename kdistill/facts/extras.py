"""What is optional: the extras of setup.cfg, and programs that only some feature needs."""

EXTRAS = {
    "addons": "losses and optimizers of tensorflow-addons (--loss=Addons>NAME); Python 3.11, an environment of its own",
    "benchmarks": "pictures of python -m benchmarks.SUBJECT",
    "clients": "exported files tested in MediaPipe and OpenVINO",
    "docs": "make docs: the documentation site; an environment of its own",
    "kerashub": "students and teachers of KerasHub (--backbone=kerashub:PRESET, --trust_packages=keras_hub); Keras 3",
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

PROGRAMS = {
    "npm": "the search page (--stages=web, python -m export web)",
}
"""Program on the path -> what it is for."""
