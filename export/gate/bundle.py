"""All files of a student in one call: export, verify, describe."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from export.formats.metadata import file_metadata
from export.formats.onnx import export_onnx
from export.formats.tflite import CALIBRATED, export_tflite
from export.gate.card import write_card
from export.gate.verify import Judge, Limits, verify_files
from export.retriever.shards import build_files, choose_precision
from kdistill.console.progress import progress_bar

CALIBRATION_IMAGES = 200
DEFAULT_PRECISIONS = ("float32", "float16", "dynamic_int8")


def export_student(
    student: Any,
    out_dir: Path | str,
    *,
    images_pixels: np.ndarray,
    judge: np.ndarray | Judge | None,
    gallery_embeddings: np.ndarray,
    gallery_ids: Sequence[str],
    gallery_precision: str = "auto",
    shards: int | str = "auto",
    k: int = 10,
    card: Mapping[str, Any],
    precisions: Sequence[str] = DEFAULT_PRECISIONS,
    calibration: np.ndarray | None = None,
    limits: Limits | None = None,
    searched: np.ndarray | None = None,
    queries: np.ndarray | None = None,
    converter: str = "tf",
) -> list[dict[str, Any]]:
    """Writes and checks student.onnx, the .tflite files, both retrievers with their sidecars, and card.json.

    Args:
        student: Functional Keras model with an L2-normalised output.
        out_dir: the folder; made when missing.
        images_pixels: uint8 [n, s, s, 3], real images on which every file is checked.
        judge: their labels, int [n], or a function that scores their embeddings (see `verify_files`).
        gallery_embeddings: float [G, D], the vectors of the retriever's gallery: the student's embeddings, or the
            teacher's vectors of a student in its space.
        gallery_ids: G unique names.
        gallery_precision: how the retrievers store it, see `build_retriever`; "auto": as `choose_precision` says.
        shards: files of a retriever, see `build_files`; "auto": as many as their size asks for.
        k: neighbours in an answer of the retriever (at most G).
        card: facts of the run for the card.
        precisions: of the .tflite files: "float32" is student.tflite, the others student_PRECISION.tflite.
        calibration: uint8 [n, s, s, 3], images of the pool, for both kinds of int8 (an error without).
        limits: of the quality gate.
        searched: what is searched in the gate instead of the student's own embeddings (see `verify_files`).
        converter: of the networks, see `export_tflite` and `export_onnx`.
        queries: float32 [n, D], the student's embeddings of images that are not in the gallery; see `build_retriever`.

    Returns:
        One row a file (see `export.gate.verify.FileCheck`); a file that failed stands as NAME.failed. Of a retriever
        in shards the first one has a row, which holds the student.

    Raises:
        ArgumentError, KdistillError: see `export_onnx`, `export_tflite`, `build_files` and `verify_files`.
    """
    folder = Path(out_dir)
    if calibration is not None:
        calibration = calibration[:CALIBRATION_IMAGES]
    jobs: dict[str, Callable[[Path], None]] = {
        "student.onnx": lambda path: export_onnx(
            student, path, metadata=file_metadata(student, "float32"), converter=converter
        )
    }
    for precision in precisions:
        jobs[student_file(precision)] = _tflite_job(student, precision, calibration, converter)
    k = min(k, len(gallery_ids))
    stored = choose_precision(student, len(gallery_ids)) if gallery_precision == "auto" else gallery_precision
    files = []
    names = [*jobs, "retriever.tflite", "retriever.onnx"]
    for name in progress_bar(names, total=len(names), description="exporting", unit="file"):
        path = folder / name
        if name in jobs:
            jobs[name](path)
            files.append(path)
            continue
        # The student stands there already, and converting a Keras model is slow.
        source = folder / f"student{path.suffix}"
        if source not in files:
            source = student
        files.append(
            build_files(
                source, gallery_embeddings, gallery_ids, path, k=k, precision=stored, shards=shards, queries=queries
            )[0]
        )
    checks = verify_files(student, files, images_pixels, judge, limits=limits, searched=searched)
    write_card(folder / "card.json", student, checks, card)
    return [check.as_dict() for check in checks]


def student_file(precision: str, file_format: str = "tflite") -> str:
    """Returns the name of a student's file: student.tflite for float32, student_int8.onnx for int8 as ONNX."""
    return f"student.{file_format}" if precision == "float32" else f"student_{precision}.{file_format}"


def _tflite_job(student: Any, precision: str, calibration: np.ndarray | None, converter: str) -> Callable[[Path], None]:
    images = calibration if precision in CALIBRATED else None
    return lambda path: export_tflite(
        student,
        path,
        precision=precision,
        calibration=images,
        metadata=file_metadata(student, precision),
        converter=converter,
    )
