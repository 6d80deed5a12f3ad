"""The quality gate over a finished run: its files again, further precisions, and pairs of resizers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from export.formats.metadata import file_metadata
from export.formats.onnx import export_onnx
from export.formats.tflite import CALIBRATED, export_tflite
from export.gate.bundle import CALIBRATION_IMAGES, student_file
from export.gate.card import update_card
from export.gate.resizers import resizer_table
from export.gate.verify import MAX_MAP_DROP, FileCheck, Limits, verify_files
from export.stage import MAX_VERIFIED, images_to_check
from kdistill import students
from kdistill.errors import ArgumentError, KdistillError
from kdistill.files.whole import write_json
from kdistill.settings import Settings
from kdistill.stages.evaluate import load_student
from kdistill.stages.models import read_images
from kdistill.stages.record import settings_of
from kdistill.stages.sources import data_of
from kdistill.stages.workdir import Workdir


def verify_run(
    run: Path,
    max_map_drop: Sequence[tuple[str, float]],
    min_cosine: float | None,
    with_resizers: bool,
    report: Path | None,
) -> int:
    """Checks all exported files of a run, prints a table; returns 1 when one failed, else 0."""
    unknown = [name for name, _ in max_map_drop if name not in MAX_MAP_DROP]
    if unknown:
        raise ArgumentError(f"precision {unknown[0]!r} is not known; choose one of {', '.join(MAX_MAP_DROP)}")
    settings, student = _opened(run)
    data = data_of(settings)
    files = sorted([*run.glob("student*.tflite"), *run.glob("*.onnx"), *run.glob("retriever.tflite")])
    if not files:
        raise KdistillError(f"{run} holds no exported files; run the export stage first")
    limits = Limits({**MAX_MAP_DROP, **dict(max_map_drop)}, min_cosine)
    size = students.image_size(student)
    pixels, judge = images_to_check(data, size, settings)
    checks = verify_files(student, files, pixels, judge, limits=limits)
    update_card(run / "card.json", checks)
    print_checks(checks)
    pairs: list[dict[str, Any]] = []
    if with_resizers:
        images = data.gallery.subset(range(min(MAX_VERIFIED, len(data.gallery))))
        pairs = resizer_table(lambda stack: student.predict(stack, verbose=0), images, size)
        print(f"{'gallery':14s}{'queries':14s}{'mAP':>8s}{'drop':>8s}")
        for pair in pairs:
            verdict = "" if pair["passed"] else "  more than 1 point"
            print(f"{pair['gallery']:14s}{pair['queries']:14s}{100 * pair['map']:8.2f}{pair['drop']:8.2f}{verdict}")
    if report is not None:
        content = {"files": [check.as_dict() for check in checks], "resizers": pairs}
        write_json(report, content)
    return 0 if all(check.passed for check in checks) else 1


def convert_run(run: Path, precision: str, file_format: str = "tflite") -> int:
    """Writes one more file of a run's student and checks it; returns 1 when it failed, else 0.

    int8 is calibrated on images of the run's pool.

    Args:
        run: work folder of the run.
        precision: one that the format has.
        file_format: "tflite" or "onnx".
    """
    settings, student = _opened(run)
    data, size = data_of(settings), students.image_size(student)
    calibration = None
    if precision in CALIBRATED:
        chosen = np.random.default_rng(settings.run.seed).permutation(len(data.pool))[:CALIBRATION_IMAGES]
        calibration = read_images(
            data.pool.subset(chosen), size, strict=settings.run.strict, description="reading for calibration"
        ).pixels
    path = run / student_file(precision, file_format)
    export = export_onnx if file_format == "onnx" else export_tflite
    export(student, path, precision=precision, calibration=calibration, metadata=file_metadata(student, precision))
    checks = verify_files(student, [path], *images_to_check(data, size, settings))
    update_card(run / "card.json", checks)
    print_checks(checks)
    return 0 if checks[0].passed else 1


def print_checks(checks: Sequence[FileCheck]) -> None:
    """Prints a table of the checks."""
    print(f"{'file':30s}{'bytes':>12s}{'cosine mean':>13s}{'min':>9s}{'overlap@10':>12s}{'mAP':>8s}")
    for check in checks:
        print(
            f"{check.name:30s}{check.bytes:12,d}{check.cosine_mean:13.5f}{check.cosine_min:9.5f}"
            f"{check.overlap_at_10:12.4f}{100 * check.map:8.2f}  {'passed' if check.passed else check.reason}"
        )


def _opened(run: Path) -> tuple[Settings, Any]:
    if not (run / "student.keras").is_file():
        raise KdistillError(f"{run} holds no student.keras; give the work folder of a run whose distill stage is done")
    logging.set_verbosity(logging.INFO)
    workdir = Workdir(run)
    return settings_of(run), load_student(workdir)
