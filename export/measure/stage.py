"""The stage `benchmark`: latency and memory of every file of a run, on its own images."""

from pathlib import Path
from typing import Any

from absl import logging

from export.measure.latency import markdown_table, measure_in_turn
from kdistill.data import ImageSet, load_pixels
from kdistill.runtimes.opening import open_image_model
from kdistill.settings import Settings
from kdistill.settings.groups.export import MeasuringSettings
from kdistill.stages.opening.sources import data_of
from kdistill.stages.stage import Result
from kdistill.stages.workdir import Workdir

IMAGES = 16
WARMUP_RUNS = 10
ROUNDS = 2


def measure_run(settings: Settings, workdir: Workdir) -> Result:
    """Adds latency and memory to `files` of `metrics.json`, and to the teacher's row where the teacher is a file.

    Raises:
        ArgumentError: nothing was exported yet.
        KdistillError: a file cannot be run.
    """
    workdir.needs(workdir.path / "card.json", "export")
    metrics = workdir.figures
    verified = [row for row in metrics.get("files", []) if row.get("passed") and row["name"] != workdir.student.name]
    images = data_of(settings).gallery
    student: dict[str, Any] = {"name": workdir.student.name, "precision": "float32"}
    student |= {"cosine_mean": 1.0, "cosine_min": 1.0, "overlap_at_10": 1.0}
    # On the images that the files were checked on: the evaluation's figure is one of the whole gallery.
    student["map"] = next((row.get("map_student") for row in verified), None)
    student["map_drop"] = None if student["map"] is None else 0.0
    rows = [student, *verified]
    measured = _measure(
        [workdir.path / row["name"] for row in rows], images, settings.student.image_size, settings.measuring
    )
    files = [{**row, **figures} for row, figures in zip(rows, measured, strict=True)]
    failed = [row for row in metrics.get("files", []) if not row.get("passed", True)]
    models = [dict(row) for row in metrics.get("rows", [])]
    teacher = _teacher_file(settings, workdir)
    if teacher is not None:
        side = open_image_model(teacher, f"the teacher {teacher}").input.side
        (figures,) = _measure([teacher], images, side, settings.measuring)
        for row in models:
            if row["name"] == "teacher":
                row |= {key: value for key, value in figures.items() if key not in row}
        files_shown = [*files, figures]
    else:
        logging.info("the teacher %s cannot be run here, so it has no latency", settings.teacher.teacher)
        files_shown = files
    print(markdown_table(files_shown))
    return Result({"files": [*files, *failed], "rows": models})


def _measure(paths: list[Path], images: ImageSet, size: int, settings: MeasuringSettings) -> list[dict]:
    chosen = images.subset(range(min(IMAGES, len(images))))
    return measure_in_turn(
        paths,
        load_pixels(chosen, size, description="reading").pixels,
        num_threads=settings.benchmark_threads,
        num_runs=settings.benchmark_runs,
        warmup_runs=WARMUP_RUNS,
        rounds=ROUNDS,
    )


def _teacher_file(settings: Settings, workdir: Workdir) -> Path | None:
    """Returns the teacher as a file that a runtime can time, or None (a table, a function, an address)."""
    path = workdir.path / "teacher.keras" if settings.teacher.teacher == "digits" else Path(settings.teacher.teacher)
    return path if path.suffix in (".keras", ".tflite", ".onnx") and path.is_file() else None
