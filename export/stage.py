"""The stage `export`: every file of the run's student, verified on the images of its evaluation."""

import hashlib

from absl import logging

from export.gate.bundle import export_student
from export.gate.sample import described, read_sample
from kdistill import students
from kdistill.data import RetrievalData
from kdistill.files.archives import load_arrays
from kdistill.settings.settings import Settings
from kdistill.stages.common import data_of
from kdistill.stages.evaluate import load_student
from kdistill.stages.workdir import Workdir


def export_run(settings: Settings, workdir: Workdir) -> None:
    """Writes the run's `.onnx`, `.tflite`, retriever and card, and `files` of `metrics.json`.

    Raises:
        KdistillError: no student yet, or a file cannot be made.
    """
    student = load_student(workdir)
    data = data_of(settings)
    names, embeddings = load_arrays(workdir.needs(workdir.gallery, "evaluate"), ("ids", "embeddings"))
    ids = names.tolist()
    sample = read_sample(data, students.image_size(student), settings)
    metrics = workdir.read_metrics()
    rows = export_student(
        student,
        workdir.path,
        images_pixels=sample.pixels,
        judge=sample.judge,
        gallery_embeddings=embeddings,
        gallery_ids=ids,
        gallery_precision=getattr(settings, "gallery_precision", "auto"),
        shards=getattr(settings, "shards", "auto"),
        k=settings.top_k,
        card={
            "backbone": settings.backbone,
            "width": settings.alpha,
            "teacher": metrics.get("teacher"),
            "teacher_view": metrics.get("teacher_view"),
            "queries": metrics.get("queries"),
            "pool": _hash_of_ids(data),
            "sample": sample.facts,
            "quality": next((row for row in metrics.get("rows", []) if row["name"] == "student"), None),
        },
    )
    workdir.update_metrics(files=rows, files_sample=sample.facts)
    logging.info("%s", described(sample.facts))
    for row in rows:
        verdict = "passed" if row["passed"] else f"FAILED: {row['reason']}"
        figures = f"{row['bytes'] / 1e6:8.2f} MB  cosine {row['cosine_mean']:.5f}  mAP {-row['map_drop']:+.2f} points"
        logging.info("%-28s %s  %s", row["name"], figures, verdict)


def _hash_of_ids(data: RetrievalData) -> str:
    """Returns the sha256 (hex) of the pool's ids: which images the student may have learnt from."""
    return hashlib.sha256("\n".join(data.pool.ids).encode()).hexdigest()
