"""The stage `export`: every file of the run's student, verified on the images of its evaluation."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from export.gate.bundle import export_student
from export.gate.verify import Judge
from export.retriever.sidecar import sidecar_path
from kdistill import students
from kdistill.data import RetrievalData
from kdistill.settings import Settings
from kdistill.stages.evaluate import load_student
from kdistill.stages.judge import Judge as RunJudge
from kdistill.stages.judge import Vectors
from kdistill.stages.models import read_images
from kdistill.stages.sources import data_of
from kdistill.stages.stage import Result
from kdistill.stages.workdir import Workdir

MAX_VERIFIED = 3000
"""Images that every file is run on; more would change no figure by much and take minutes."""


def export_run(settings: Settings, workdir: Workdir) -> Result:
    """Writes the run's `.onnx`, `.tflite`, retriever and card, and `files` of `metrics.json`.

    Raises:
        KdistillError: no student yet, or a file cannot be made.
    """
    student = load_student(workdir)
    data = data_of(settings)
    with np.load(workdir.needs(workdir.gallery, "evaluate"), allow_pickle=False) as gallery:
        ids, embeddings = gallery["ids"].tolist(), gallery["embeddings"]
    pixels, judge = images_to_check(data, students.image_size(student), settings)
    metrics = workdir.figures
    rows = export_student(
        student,
        workdir.path,
        images_pixels=pixels,
        judge=judge,
        gallery_embeddings=embeddings,
        gallery_ids=ids,
        gallery_precision="asymmetric" if settings.student.hash_bits else "float32",
        k=settings.export.top_k,
        card={
            "backbone": settings.student.backbone,
            "width": settings.student.alpha,
            "teacher": metrics.get("teacher"),
            "teacher_view": metrics.get("teacher_view"),
            "queries": metrics.get("queries"),
            "pool": _hash_of_ids(data),
            "quality": next((row for row in metrics.get("rows", []) if row["name"] == "student"), None),
        },
    )
    for row in rows:
        verdict = "passed" if row["passed"] else f"FAILED: {row['reason']}"
        figures = f"{row['bytes'] / 1e6:8.2f} MB  cosine {row['cosine_mean']:.5f}  mAP {row['map']:.4f}"
        logging.info("%-28s %s  %s", row["name"], figures, verdict)
    return Result({"files": rows}, _made(workdir.path, rows))


def images_to_check(data: RetrievalData, size: int, settings: Settings) -> tuple[np.ndarray, np.ndarray | Judge]:
    """Returns the pixels that files are run on, and their labels or, with queries, a function that scores them."""
    if data.queries is None:
        images = data.gallery.subset(range(min(MAX_VERIFIED, len(data.gallery))))
        loaded = read_images(images, size, strict=settings.run.strict, description="reading for the checks")
        return loaded.pixels, np.asarray(images.labels)[loaded.indices]
    gallery = read_images(data.gallery, size, strict=settings.run.strict, description="reading the gallery")
    queries = read_images(data.queries, size, strict=settings.run.strict, description="reading the queries")
    rules = RunJudge(data.restricted_to(gallery.indices, queries.indices), settings.evaluation.max_memory_mb)
    searching = len(queries.pixels)

    def score(embeddings: np.ndarray) -> float:
        return rules.scores(Vectors(embeddings[searching:], embeddings[:searching])).map

    return np.concatenate([queries.pixels, gallery.pixels]), score


def _made(folder: Path, rows: list[dict[str, Any]]) -> list[Path]:
    """Returns the files of the rows, as they are called now that some may have failed, and what describes them."""
    names = [row["name"] if row["passed"] else f"{row['name']}.failed" for row in rows]
    sidecars = [sidecar_path(folder / name).name for name in names if name.startswith("retriever")]
    return [folder / name for name in (*names, *sidecars, "card.json") if (folder / name).exists()]


def _hash_of_ids(data: RetrievalData) -> str:
    """Returns the sha256 (hex) of the pool's ids: which images the student may have learnt from."""
    return hashlib.sha256("\n".join(data.pool.ids).encode()).hexdigest()
