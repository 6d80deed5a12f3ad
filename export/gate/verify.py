"""The quality gate: every exported file against the Keras student, on real images.

A file may be small and fast and still be wrong: a quantised head, a preprocessing done twice, statistics that were
never fitted. So each file is run, and judged by its own retrieval, not by the student's.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from export.formats.metadata import stored_precision
from kdistill import students
from kdistill.console.progress import progress_bar
from kdistill.errors import ArgumentError, KdistillError
from kdistill.evaluation import evaluate_leave_one_out
from kdistill.evaluation.agreement import teacher_agreement
from kdistill.files.whole import sha256_of
from kdistill.runtimes.embedders import embed_pixels
from kdistill.runtimes.keras_models.keras_model import embeddings_of

MAX_MAP_DROP = {"float32": 0.1, "float16": 0.1, "dynamic_int8": 0.5, "int8": 1.5, "int8_float_head": 1.5}
"""Points of mAP (0 to 100) that a file of this precision may lose against the Keras student."""
MIN_OVERLAP = {"float32": 0.99, "float16": 0.97, "dynamic_int8": 0.8, "int8": 0.65, "int8_float_head": 0.65}
"""Share of the Keras student's ten nearest images that a file of this precision must find, where no label judges it."""
MIN_MEAN_COSINE = {"float32": 0.9999, "float16": 0.999, "dynamic_int8": 0.97, "int8": 0.93, "int8_float_head": 0.93}
"""The least mean cosine to the Keras student's embeddings, where no label judges a file."""
CONSTANT_COSINE = 0.99999
Judge = Callable[[np.ndarray], float]


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a file must keep.

    Attributes:
        max_map_drop: points of mAP by precision, each from -100 to 100; a precision that is not named has float32's.
        min_cosine: the least cosine to the Keras student's embedding of any image, -1 to 1, or None.
    """

    max_map_drop: Mapping[str, float] = dataclasses.field(default_factory=lambda: dict(MAX_MAP_DROP))
    min_cosine: float | None = None

    def __post_init__(self) -> None:
        """Raises ArgumentError for a limit that no file could be measured by, such as one that is no number."""
        for precision, points in self.max_map_drop.items():
            if not -100 <= points <= 100:
                raise ArgumentError(
                    f"max_map_drop of {precision} is {points}; it is given in points of mAP, -100 to 100"
                )
        if self.min_cosine is not None and not -1 <= self.min_cosine <= 1:
            raise ArgumentError(f"min_cosine is {self.min_cosine}; a cosine lies between -1 and 1")


@dataclasses.dataclass(frozen=True)
class FileCheck:
    """How one file did.

    Attributes:
        name: the file's name.
        precision: as written in the file by the exporter.
        bytes: its size.
        sha256: of its bytes.
        cosine_mean: between its embeddings and the Keras student's, over the images.
        cosine_min: the least of them.
        overlap_at_10: share of the student's ten nearest images that are among the file's ten nearest.
        map: mAP of the file's own embeddings on the images of the check, 0 to 1; not to be compared with figures of
            other images. None, as the next two, where no label judges.
        map_student: mAP of the Keras student on the same images.
        map_drop: points of mAP (0 to 100) that the file loses against it; negative where it gains.
        passed: within the limits.
        reason: why not; empty when passed.
    """

    name: str
    precision: str
    bytes: int
    sha256: str
    cosine_mean: float
    cosine_min: float
    overlap_at_10: float
    map: float | None
    map_student: float | None
    map_drop: float | None
    passed: bool
    reason: str

    def as_dict(self) -> dict[str, Any]:
        """Returns the fields, for JSON."""
        return dataclasses.asdict(self)


def verify_files(
    student: Any,
    files: Sequence[Path | str],
    pixels: np.ndarray,
    judge: np.ndarray | Judge | None,
    *,
    limits: Limits | None = None,
    searched: np.ndarray | None = None,
) -> list[FileCheck]:
    """Checks each file and takes the name away from those that fail.

    By labels a file is held to its own mAP. Without any it is held to the student's neighbours and embeddings
    (MIN_OVERLAP, MIN_MEAN_COSINE).

    A file that fails is renamed to NAME.failed, and the reason is logged.

    Args:
        student: the Keras model that the files came from.
        files: .tflite and .onnx files with an input `image` and an output `embedding`.
        pixels: uint8 [n, s, s, 3], real images, resized.
        judge: labels int [n], for leave-one-out mAP; or a function from embeddings float32 [n, D] to mAP, 0 to 1; or
            None, where there are no labels.
        limits: what a file must keep; None for the defaults.
        searched: float32 [g, D], the gallery where it is not the student's own embeddings: the teacher's vectors of the
            last g images, which the embeddings of all (g = n), or of the first n - g search. Overlap is then that of
            what a file's queries and the student's find there.

    Raises:
        ArgumentError: no images, images of another shape than the student's, or labels that do not match them.
        KdistillError: the student itself gives one embedding for all images, against which nothing can be checked.
    """
    size = students.image_size(student)
    if pixels.dtype != np.uint8 or pixels.shape[1:] != (size, size, 3):
        raise ArgumentError(
            f"the student takes images uint8 [{size}, {size}, 3]; these are {pixels.dtype} {list(pixels.shape[1:])}"
        )
    count = len(judge) if isinstance(judge, np.ndarray) else len(pixels)
    if len(pixels) < 2 or len(pixels) != count:
        raise ArgumentError(f"verification needs at least 2 images with a label each; {len(pixels)} and {count} came")
    score = _leave_one_out(judge) if isinstance(judge, np.ndarray) else judge
    limits = limits or Limits()
    reference = embeddings_of(student, pixels)
    if float((reference @ reference[0]).min()) > CONSTANT_COSINE:
        raise KdistillError("the student gives the same embedding for every image: there is nothing to verify against")
    map_reference = None if score is None else score(reference)
    checks = []
    for file in progress_bar(files, total=len(files), description="verifying", unit="file"):
        check = _check(Path(file), reference, map_reference, pixels, score, limits, searched)
        if not check.passed:
            failed = Path(f"{file}.failed")
            try:
                Path(file).replace(failed)
                logging.error("%s fails the quality gate and is now %s: %s", check.name, failed.name, check.reason)
            except OSError as error:
                # Who may only read still gets the verdict.
                reason = error.strerror or error
                logging.error("%s fails the quality gate: %s; it keeps its name: %s", check.name, check.reason, reason)
        checks.append(check)
    return checks


def _check(
    path: Path,
    reference: np.ndarray,
    map_reference: float | None,
    pixels: np.ndarray,
    score: Judge | None,
    limits: Limits,
    searched: np.ndarray | None,
) -> FileCheck:
    precision = stored_precision(path)
    embeddings = embed_pixels(path, pixels)
    if embeddings.shape != reference.shape:
        raise KdistillError(
            f"{path} gives embeddings {list(embeddings.shape)}, the student gives {list(reference.shape)}"
        )
    finite = bool(np.isfinite(embeddings).all())
    cosine = np.sum(embeddings * reference, axis=1) / np.maximum(np.linalg.norm(embeddings, axis=1), 1e-12)
    usable = np.nan_to_num(embeddings)
    overlap = _overlap(usable, reference, searched)
    quality = drop = None
    reasons = []
    if not finite:
        reasons.append("its embeddings are not finite")
    if score is not None and map_reference is not None:
        quality = float(score(usable))
        drop = 100 * (map_reference - quality)
        allowed = limits.max_map_drop.get(precision, MAX_MAP_DROP["float32"])
        if drop > allowed:
            reasons.append(
                f"its mAP is {drop:.2f} points below the student's {100 * map_reference:.2f}, {allowed} allowed"
            )
    else:
        needed = MIN_OVERLAP.get(precision, MIN_OVERLAP["float32"])
        if overlap < needed:
            reasons.append(f"it finds {overlap:.3f} of the student's ten nearest images, {needed} is required")
        needed = MIN_MEAN_COSINE.get(precision, MIN_MEAN_COSINE["float32"])
        if not cosine.mean() >= needed:
            reasons.append(f"its mean cosine to the student is {cosine.mean():.4f}, {needed} is required")
    if limits.min_cosine is not None and not cosine.min() >= limits.min_cosine:
        reasons.append(f"its least cosine to the student is {cosine.min():.4f}, {limits.min_cosine} is required")
    return FileCheck(
        name=path.name,
        precision=precision,
        bytes=path.stat().st_size,
        sha256=sha256_of(path),
        cosine_mean=float(cosine.mean()),
        cosine_min=float(cosine.min()),
        overlap_at_10=overlap,
        map=quality,
        map_student=None if map_reference is None else float(map_reference),
        map_drop=drop,
        passed=not reasons,
        reason="; ".join(reasons),
    )


def _overlap(embeddings: np.ndarray, reference: np.ndarray, searched: np.ndarray | None) -> float:
    """Returns the share of the ten nearest that the student finds which a file's embeddings find, in either gallery."""
    if searched is None:
        pairs = (embeddings, embeddings), (reference, reference)
        exclude = np.arange(len(embeddings))
    else:
        first = len(embeddings) - len(searched)
        asking = slice(None) if first == 0 else slice(first)
        pairs = (embeddings[asking], searched), (reference[asking], searched)
        exclude = np.arange(len(searched)) if first == 0 else np.full(first, -1)
    return float(teacher_agreement(*pairs, ks=(10,), exclude=exclude)["teacher_overlap_at_10"])


def _leave_one_out(labels: np.ndarray) -> Judge:
    return lambda embeddings: evaluate_leave_one_out(embeddings, labels).map
