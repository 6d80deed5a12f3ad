"""The stage `export`: every file of the run's student, verified on the images of its evaluation."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from export.gate.bundle import export_student
from export.gate.sample import Sample, described, read_sample
from export.retriever.sidecar import sidecar_path
from kdistill import students
from kdistill.data import RetrievalData
from kdistill.facts.brought import is_brought
from kdistill.files.archives import map_arrays
from kdistill.runtimes.keras_models.keras_model import embeddings_of
from kdistill.settings import Settings
from kdistill.stages.backbone import named_backbone
from kdistill.stages.judging.across import teachers_gallery
from kdistill.stages.judging.evaluate import load_student
from kdistill.stages.opening.sources import data_of
from kdistill.stages.stage import Result
from kdistill.stages.workdir import Workdir


def export_run(settings: Settings, workdir: Workdir) -> Result:
    """Writes the run's `.onnx`, `.tflite`, retriever and card, and `files` of `metrics.json`.

    Raises:
        KdistillError: no student yet, or a file cannot be made.
    """
    student = load_student(workdir, settings)
    data = data_of(settings)
    names, embeddings = map_arrays(workdir.needs(workdir.gallery, "evaluate"), ("ids", "embeddings"))
    ids = names.tolist()
    sample = read_sample(
        data,
        students.image_size(student),
        seed=settings.run.seed,
        strict=settings.run.strict,
        max_memory_mb=settings.evaluation.max_memory_mb,
        gallery=teachers_gallery(settings, workdir),
    )
    metrics = workdir.figures
    rows = export_student(
        student,
        workdir.path,
        images_pixels=sample.pixels,
        judge=sample.judge,
        searched=sample.searched,
        queries=outside_rows(student, sample),
        converter=settings.export.converter,
        gallery_embeddings=embeddings,
        gallery_ids=ids,
        gallery_precision=settings.export.gallery_precision,
        shards=settings.export.shards or "auto",
        k=settings.export.top_k,
        card={
            "backbone": named_backbone(settings.student.backbone),
            "width": None if is_brought(settings.student.backbone) else settings.student.alpha,
            "teacher": metrics.get("teacher"),
            "teacher_view": metrics.get("teacher_view"),
            "queries": metrics.get("queries"),
            "pool": _hash_of_ids(data),
            "sample": sample.facts,
            "quality": _quality(metrics.get("rows", []), metrics.get("searched") == "teacher"),
            **({"space": {**metrics["space"], "searched": metrics.get("searched")}} if "space" in metrics else {}),
        },
    )
    logging.info("%s", described(sample.facts))
    for row in rows:
        verdict = "passed" if row["passed"] else f"FAILED: {row['reason']}"
        figures = f"{row['bytes'] / 1e6:8.2f} MB  cosine {row['cosine_mean']:.5f}  overlap {row['overlap_at_10']:.3f}"
        if row["map_drop"] is not None:
            figures += f"  mAP {-row['map_drop']:+.2f} points"
        logging.info("%-28s %s  %s", row["name"], figures, verdict)
    return Result({"files": rows, "files_sample": sample.facts}, _made(workdir.path, rows))


def outside_rows(student: Any, sample: Sample) -> np.ndarray | None:
    """Returns the student's embeddings float32 [n, D] of what is no row of the gallery, None where all of it is."""
    if sample.searched is not None:
        return embeddings_of(student, sample.pixels)
    searching = sample.facts["queries"]
    return embeddings_of(student, sample.pixels[:searching]) if searching else None


def _quality(rows: list[dict[str, Any]], across: bool) -> dict[str, Any] | None:
    """Returns the row of what is handed on: the student in its own gallery, or in the teacher's."""
    name = "student_asymmetric" if across else "student"
    return next((row for row in rows if row["name"] == name), None)


def _made(folder: Path, rows: list[dict[str, Any]]) -> list[Path]:
    """Returns the files of the rows, as they are called now that some may have failed, and what describes them."""
    names = [row["name"] if row["passed"] else f"{row['name']}.failed" for row in rows]
    for suffix in ("tflite", "onnx"):
        parts = [folder / f"retriever.{suffix}", *sorted(folder.glob(f"retriever-[0-9]*.{suffix}"))]
        names += [name for part in parts for name in (part.name, sidecar_path(part).name)]
    return [folder / name for name in dict.fromkeys([*names, "card.json"]) if (folder / name).exists()]


def _hash_of_ids(data: RetrievalData) -> str:
    """Returns the sha256 (hex) of the pool's ids: which images the student may have learnt from."""
    return hashlib.sha256("\n".join(data.pool.ids).encode()).hexdigest()
