"""The teacher and the student of a run, and images read for them, as its settings say."""

import atexit
import functools
import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import keras
import numpy as np
from absl import logging

from kdistill import students
from kdistill.assistant import build_assistant
from kdistill.data import ImageSet, LoadedImages, load_pixels
from kdistill.data.identity import identities
from kdistill.facts.teachers import DEFAULT_SIDE
from kdistill.files import made_from
from kdistill.runtimes.keras_models.keras_files import load_keras_file
from kdistill.runtimes.keras_models.keras_model import as_function, embeddings_of
from kdistill.settings import Settings
from kdistill.settings.groups.student import StudentSettings
from kdistill.settings.groups.teacher import TeacherSettings
from kdistill.space.ridge import fit_ridge
from kdistill.stages.backbone import trusted_packages
from kdistill.teachers import Teacher, open_teacher
from kdistill.version import __version__

SOURCE_MARGIN = 1.25
"""Augmented views are cropped from images this much larger than the network's input, so that a crop loses no detail."""


def teacher_of(settings: TeacherSettings, seed: int, folder: Path, *, keep: bool = True) -> Teacher:
    """Opens the run's teacher; the embedded one is trained first where `folder` does not hold that of the seed.

    Without `keep`, in a dry run, it is then not written there but goes with this process.
    """
    if settings.teacher == "imagenet" or settings.teacher.endswith(".weights.h5"):
        backbone = students.build(
            settings.teacher_backbone,
            alpha=settings.teacher_alpha,
            image_size=settings.teacher_image_size or DEFAULT_SIDE,
            embedding_dim=None,
            weights=settings.teacher,
        )
        return open_teacher(backbone, scaling="none")
    if settings.teacher != "digits":
        return open_teacher(
            settings.teacher,
            scaling=settings.teacher_scaling,
            output=settings.teacher_output,
            pooling=settings.teacher_pooling,
            image_size=settings.teacher_image_size,
            headers=settings.teacher_headers,
            timeout=settings.teacher_timeout,
            retries=settings.teacher_retries,
            api=settings.teacher_api,
            model=settings.teacher_model,
            requests_per_minute=settings.requests_per_minute,
            trust_packages=settings.trust_packages,
        )
    # As a model, which is named by its weights: its file holds the time, and would be another teacher once made again.
    return open_teacher(load_keras_file(_digits_teacher(seed, folder, keep)), scaling="none")


def start_student(
    settings: StudentSettings,
    seed: int,
    pixels: np.ndarray | Iterable[np.ndarray] | None = None,
    *,
    trusted: Sequence[str] = (),
) -> keras.Model:
    """Builds the student as it is before distillation.

    Args:
        settings: of the student.
        seed: of its random start, below 2**32.
        pixels: uint8 [n, S, S, 3] unlabelled images from which a projection behind pretrained features starts (see
            `students.initialise_projection`), or blocks of them, each but the last of a multiple of 32; None leaves its
            random start.
        trusted: packages besides Keras whose classes a network that the user brings may be made of.
    """
    keras.utils.set_random_seed(seed)
    student = students.build(
        settings.backbone,
        alpha=settings.alpha,
        image_size=settings.image_size,
        embedding_dim=settings.embedding_dim or None,
        pooling=settings.pooling,
        weights=settings.student_weights,
        hash_bits=settings.hash_bits or None,
        scaling=settings.backbone_scaling,
        trusted=trusted,
    )
    distilled = (settings.student_weights or "").endswith(".keras")
    if pixels is not None and settings.embedding_dim and not distilled:
        blocks = [pixels] if isinstance(pixels, np.ndarray) else pixels
        features = as_function(students.pooled_features(student))
        students.initialise_projection(student, np.concatenate([embeddings_of(features, block) for block in blocks]))
    return student


def student_before(settings: Settings) -> keras.Model:
    """Builds a run's student as it is before distillation, with the random start of its seed."""
    return start_student(settings.student, settings.run.small_seed, trusted=trusted_packages(settings))


def start_at_targets(network: keras.Model, blocks: Iterable[np.ndarray], targets: Callable[[], np.ndarray]) -> None:
    """Sets the projection of a network to the ridge map from its pooled features to vectors in its own space.

    Args:
        network: with a layer `projection`, of a student or an assistant.
        blocks: of uint8 [n, S, S, 3], each but the last of a multiple of 32.
        targets: gives float [n, Ds], asked once all blocks were taken.
    """
    features = as_function(students.pooled_features(network))
    looked = np.concatenate([embeddings_of(features, block) for block in blocks])
    network.get_layer("projection").set_weights([fit_ridge(looked, targets())])


def assistant_network(settings: Settings, embedding_dim: int | None) -> keras.Model:
    """Builds the assistant as it is before it learns; without `embedding_dim`, up to its pooled features."""
    keras.utils.set_random_seed(settings.run.small_seed)
    chosen = settings.assistant
    return build_assistant(
        str(chosen.assistant_backbone),
        alpha=chosen.assistant_alpha,
        image_size=chosen.assistant_image_size,
        weights=chosen.assistant_weights,
        embedding_dim=embedding_dim,
        scaling=chosen.assistant_backbone_scaling,
        trusted=trusted_packages(settings),
    )


def read_images(images: ImageSet, size: int, *, strict: bool, description: str) -> LoadedImages:
    """Reads images into memory, tells of each one that had to be skipped."""
    loaded = load_pixels(images, size, strict=strict, description=description)
    for _, reason in loaded.skipped:
        logging.warning("skipped: %s", reason)
    if loaded.skipped:
        logging.warning("%d of %d images were skipped", len(loaded.skipped), len(images))
    return loaded


def _digits_teacher(seed: int, folder: Path, keep: bool) -> Path:
    from kdistill.data.digits import teacher_digits
    from kdistill.teachers.providers.digits import train_digits_teacher

    path = folder / "teacher.keras"
    images = teacher_digits(seed)
    identity = {"seed": seed, "images": identities(images), "version": __version__}
    difference = made_from.matches(path, identity)
    if difference is not None and not keep:
        path = _passing_folder() / "teacher.keras"
        difference = made_from.matches(path, identity)
    if difference is not None:
        if path.exists():
            logging.info("the embedded teacher is trained anew: %s", difference)
        logging.info("training the embedded teacher on its own labelled digits (half a minute)")
        train_digits_teacher(path, seed)
        made_from.write(path, identity)
    return path


@functools.cache
def _passing_folder() -> Path:
    """Returns a folder that goes with this process."""
    folder = tempfile.mkdtemp(prefix="kdistill-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)
