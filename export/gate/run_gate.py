"""The quality gate over a finished run: its files again, further precisions and retrievers, and pairs of resizers."""

import contextlib
import functools
import math
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from export.formats.metadata import file_metadata
from export.formats.onnx import export_onnx
from export.formats.tflite import CALIBRATED, export_tflite
from export.gate.bundle import CALIBRATION_IMAGES, student_file
from export.gate.card import update_card
from export.gate.printing import print_checks
from export.gate.resizers import resizer_table
from export.gate.sample import Sample, read_sample
from export.gate.verify import MAX_MAP_DROP, Limits, verify_files
from export.retriever.shards import build_files, choose_precision, shards_of
from export.retriever.sidecar import read_sidecar
from kdistill import students
from kdistill.data import RetrievalData
from kdistill.errors import ArgumentError, KdistillError
from kdistill.files.archives import map_arrays
from kdistill.files.whole import write_json
from kdistill.runtimes.keras_models.keras_files import load_keras_file
from kdistill.runtimes.keras_models.keras_model import as_function, embeddings_of
from kdistill.settings import Settings
from kdistill.settings.effects import in_teacher_space
from kdistill.stages.backbone import trusted_packages
from kdistill.stages.entries import changing, check_read, settings_of
from kdistill.stages.judging.across import teachers_gallery
from kdistill.stages.opening.models import read_images
from kdistill.stages.opening.sources import data_of
from kdistill.stages.workdir import Workdir

FORMATS = ("tflite", "onnx")


def _alone(command: Callable[..., int]) -> Callable[..., int]:
    """Makes a command on a run's folder (its first argument) one at a time, beside the stages of a run."""

    @functools.wraps(command)
    def alone(run: Path, *arguments: Any, **options: Any) -> int:
        with _at_work(run):
            return command(run, *arguments, **options)

    return alone


@_alone
def verify_run(
    run: Path,
    max_map_drop: Sequence[tuple[str, float]],
    min_cosine: float | None,
    with_resizers: bool,
    report: Path | None,
) -> int:
    """Checks all exported files of a run, prints a table; returns 1 when one failed, else 0.

    A folder that cannot be written is checked all the same: its card then stays as it was, which is said.
    """
    unknown = [name for name, _ in max_map_drop if name not in MAX_MAP_DROP]
    if unknown:
        raise ArgumentError(f"precision {unknown[0]!r} is not known; choose one of {', '.join(MAX_MAP_DROP)}")
    for precision, points in max_map_drop:
        if not (math.isfinite(points) and 0 <= points <= 100):
            raise ArgumentError(f"--max_map_drop {precision}={points} is no number of points of mAP, 0 to 100")
    if min_cosine is not None and not -1 <= min_cosine <= 1:
        raise ArgumentError(f"--min_cosine={min_cosine} is no cosine, -1 to 1")
    limits = Limits({**MAX_MAP_DROP, **dict(max_map_drop)}, min_cosine)
    settings, student = _opened(run)
    data = data_of(settings)
    if with_resizers and data.gallery.labels is None:
        raise ArgumentError(f"--resizers compares by the labels of the gallery, and {data.name} has none")
    if with_resizers and in_teacher_space(settings):
        raise ArgumentError("--resizers compares galleries of the student's own, and this run searches the teacher's")
    files, retrievers = _files_of(run)
    if not files:
        raise KdistillError(f"{run} holds no exported files; run the export stage first")
    sample = _sample(run, data, settings, student)
    checks = verify_files(student, files, sample.pixels, sample.judge, limits=limits, searched=sample.searched)
    print_checks(checks, sample.facts)
    damaged = _damaged(retrievers)
    for sentence in damaged:
        print(sentence)
    pairs: list[dict[str, Any]] = []
    if with_resizers:
        size = students.image_size(student)
        embed = functools.partial(embeddings_of, as_function(student))
        pairs = resizer_table(embed, sample.data.gallery, size)
        print(f"{'gallery':14s}{'queries':14s}{'mAP':>8s}{'drop':>8s}")
        for pair in pairs:
            verdict = "" if pair["passed"] else "  more than 1 point"
            print(f"{pair['gallery']:14s}{pair['queries']:14s}{100 * pair['map']:8.2f}{pair['drop']:8.2f}{verdict}")
    if report is not None:
        content = {"files": [check.as_dict() for check in checks], "sample": sample.facts, "resizers": pairs}
        write_json(report, content)
    try:
        update_card(run / "card.json", checks, sample=sample.facts)
    except KdistillError as error:
        print(f"the card was not updated: {error}")
    return 0 if all(check.passed for check in checks) and not damaged else 1


@_alone
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
    export = export_tflite if file_format == "tflite" else export_onnx
    metadata, converter = file_metadata(student, precision), settings.export.converter
    export(student, path, precision=precision, calibration=calibration, metadata=metadata, converter=converter)
    return _check_written(run, data, settings, student, [path])


@_alone
def build_run_retriever(
    run: Path,
    *,
    precision: str = "auto",
    file_format: str = "tflite",
    shards: int | str = "auto",
    k: int | None = None,
    out: Path | None = None,
) -> int:
    """Writes a retriever of a run's student and gallery and checks it; returns 1 when it failed, else 0.

    Args:
        run: work folder of the run, evaluated.
        precision: how the gallery is stored (see `build_retriever`); "auto": as `choose_precision` says.
        file_format: "tflite" or "onnx".
        shards: files that the gallery is spread over, or "auto".
        k: neighbours in an answer; None for the run's own number, at most the gallery's rows.
        out: where to write; None for the run's `retriever` of the format. A file elsewhere stands in no card.

    Raises:
        ArgumentError: a k that the gallery cannot give, an unknown precision, or a file name of another format.
        KdistillError: the run lacks its student or gallery, or they do not belong together.
    """
    settings, student = _opened(run)
    path = run / f"retriever.{file_format}" if out is None else out
    if path.suffix != f".{file_format}":
        raise ArgumentError(f"--out={path} does not end in .{file_format}, the format that is written")
    stored = run / "gallery.npz"
    if not stored.is_file():
        raise KdistillError(f"{run} holds no gallery.npz; run its stage evaluate first")
    check_read(run, "evaluate", "student.keras")
    names, embeddings = map_arrays(stored, ("ids", "embeddings"))
    ids = [str(name) for name in names.tolist()]
    if precision == "auto":
        precision = choose_precision(student, len(ids))
    k = min(settings.export.top_k, len(ids)) if k is None else k
    with tempfile.TemporaryDirectory() as folder:
        source = student
        if settings.export.converter != "tf":
            source = Path(folder) / f"student.{file_format}"
            export = export_tflite if file_format == "tflite" else export_onnx
            export(student, source, metadata=file_metadata(student, "float32"), converter=settings.export.converter)
        files = build_files(source, embeddings, ids, path, k=k, precision=precision, shards=shards)
    size = sum(file.stat().st_size for file in files)
    print(f"{len(ids)} rows as {precision}, {size:,} bytes: {', '.join(str(file) for file in files)}")
    return _check_written(run, data_of(settings), settings, student, files[:1])


def _check_written(run: Path, data: RetrievalData, settings: Settings, student: Any, files: Sequence[Path]) -> int:
    """Runs new files through the gate, and describes those that lie in the run's folder in its card."""
    sample = _sample(run, data, settings, student)
    checks = verify_files(student, files, sample.pixels, sample.judge, searched=sample.searched)
    print_checks(checks, sample.facts)
    if all(file.resolve().parent == run.resolve() for file in files):
        update_card(run / "card.json", checks, sample=sample.facts)
    else:
        print(f"the card of {run} describes the files of that folder only, so it stays as it is")
    return 0 if all(check.passed for check in checks) else 1


def _files_of(run: Path) -> tuple[list[Path], list[Path]]:
    """Returns the files of a run that embed, and its retrievers, shards of them included."""
    students_files = [file for suffix in FORMATS for file in run.glob(f"student*.{suffix}")]
    retrievers = [[file for file in shards_of(run / f"retriever.{suffix}") if file.exists()] for suffix in FORMATS]
    # The shards behind the first one hold no student.
    embedding = sorted([*students_files, *(files[0] for files in retrievers if files)])
    return embedding, [file for files in retrievers for file in files]


def _damaged(retrievers: Sequence[Path]) -> list[str]:
    """Returns a sentence for each retriever that does not belong to its sidecar; one that failed is gone already."""
    sentences = []
    for file in retrievers:
        if file.exists():
            try:
                read_sidecar(file).check_file(file)
            except KdistillError as error:
                sentences.append(str(error))
    return sentences


def _sample(run: Path, data: RetrievalData, settings: Settings, student: Any) -> Sample:
    return read_sample(
        data,
        students.image_size(student),
        seed=settings.run.seed,
        strict=settings.run.strict,
        max_memory_mb=settings.evaluation.max_memory_mb,
        gallery=teachers_gallery(settings, Workdir(run, create=False)),
    )


@contextlib.contextmanager
def _at_work(run: Path) -> Iterator[None]:
    """Keeps other commands out of a run's folder, and its record true of the card; nothing where it is for reading."""
    with contextlib.ExitStack() as stack:
        if run.is_dir() and os.access(run, os.W_OK):
            stack.enter_context(Workdir(run, create=False).locked())
            stack.enter_context(changing(run, "card.json"))
        yield


def _opened(run: Path) -> tuple[Settings, Any]:
    """Returns settings and student; by reading alone, since a finished run may be kept where nothing can be written."""
    student = run / "student.keras"
    if not student.is_file():
        raise KdistillError(f"{run} holds no student.keras; give the work folder of a run whose distill stage is done")
    logging.set_verbosity(logging.INFO)
    settings = settings_of(run)
    return settings, load_keras_file(student, trusted_packages(settings))
