"""The stage `benchmark`: latency and memory of every file of a run, on its own images."""

from pathlib import Path

from absl import logging

from export.measure.latency import markdown_table, measure_in_turn
from kdistill.data import ImageSet, load_pixels
from kdistill.runtimes.keras_files import load_keras_file
from kdistill.runtimes.opening import open_onnx, open_tflite
from kdistill.settings.settings import Settings
from kdistill.stages.common import data_of
from kdistill.stages.workdir import Workdir
from kdistill.teachers.providers.preprocessing import square_side

IMAGES = 16
WARMUP_RUNS = 10
ROUNDS = 2


def benchmark_run(settings: Settings, workdir: Workdir) -> None:
    """Adds latency and memory to `files` of `metrics.json`, and to the teacher's row where the teacher is a file.

    Raises:
        ArgumentError: nothing was exported yet.
        KdistillError: a file cannot be run.
    """
    workdir.needs(workdir.path / "card.json", "export")
    metrics = workdir.read_metrics()
    verified = [row for row in metrics.get("files", []) if row.get("passed") and row["name"] != workdir.student.name]
    images = data_of(settings).gallery
    student = {"name": workdir.student.name, "precision": "float32", "cosine_mean": 1.0, "cosine_min": 1.0}
    # On the images that the files were checked on: the evaluation's figure is one of the whole gallery.
    student["map"] = next((row.get("map_student") for row in verified), None)
    student["map_drop"] = 0.0
    rows = [student, *verified]
    measured = _measure([workdir.path / row["name"] for row in rows], images, settings.image_size, settings)
    files = [{**row, **figures} for row, figures in zip(rows, measured, strict=True)]
    failed = [row for row in metrics.get("files", []) if not row.get("passed", True)]
    models = metrics.get("rows", [])
    teacher = _teacher_file(settings, workdir)
    if teacher is not None:
        (figures,) = _measure([teacher], images, _input_side(teacher), settings)
        for row in models:
            if row["name"] == "teacher":
                row |= {key: value for key, value in figures.items() if key not in row}
        files_shown = [*files, figures]
    else:
        logging.info("the teacher %s cannot be run here, so it has no latency", settings.teacher)
        files_shown = files
    workdir.update_metrics(files=[*files, *failed], rows=models)
    print(markdown_table(files_shown))


def _measure(paths: list[Path], images: ImageSet, size: int, settings: Settings) -> list[dict]:
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
    path = workdir.path / "teacher.keras" if settings.teacher == "digits" else Path(settings.teacher)
    return path if path.suffix in (".keras", ".tflite", ".onnx") and path.is_file() else None


def _input_side(path: Path) -> int:
    if path.suffix == ".keras":
        _, height, width, _ = load_keras_file(path).inputs[0].shape
        return square_side(height, width, str(path))
    if path.suffix == ".tflite":
        shape = open_tflite(path).get_input_details()[0]["shape"]
        return square_side(int(shape[1]), int(shape[2]), str(path))
    shape = open_onnx(path).get_inputs()[0].shape
    # Open sides have names; the channels come first in files of other makers.
    sides = [side if isinstance(side, int) else None for side in (shape[1:3] if shape[-1] == 3 else shape[2:])]
    return square_side(sides[0], sides[1], str(path))
