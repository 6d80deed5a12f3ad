"""What several stages need: the run's data, teacher and student, made from its settings."""

import keras
import numpy as np
from absl import logging

from kdistill import students
from kdistill.data import ImageSet, LoadedImages, RetrievalData, load_pixels
from kdistill.data.sources import open_data
from kdistill.settings.settings import Settings
from kdistill.stages.workdir import Workdir
from kdistill.teachers import Teacher, open_teacher


def data_of(settings: Settings) -> RetrievalData:
    """Opens the run's data."""
    return open_data(
        settings.dataset,
        data_dir=settings.data_dir,
        pool_file=settings.pool_file,
        gallery_file=settings.gallery_file,
        query_file=settings.query_file,
        val_file=settings.val_file,
        gnd_file=settings.gnd_file,
        pool_dir=settings.pool_dir,
        distractor_dir=settings.distractor_dir,
        seed=settings.seed,
    )


def teacher_of(settings: Settings, workdir: Workdir) -> Teacher:
    """Opens the run's teacher; the embedded one is trained first where it does not exist yet."""
    if settings.teacher == "imagenet" or settings.teacher.endswith(".weights.h5"):
        backbone = students.build(
            settings.teacher_backbone,
            alpha=settings.teacher_alpha,
            image_size=settings.teacher_image_size,
            embedding_dim=None,
            weights=settings.teacher,
        )
        return open_teacher(backbone, scaling="none")
    if settings.teacher != "digits":
        return open_teacher(
            settings.teacher,
            scaling=settings.teacher_scaling,
            headers=settings.teacher_headers,
            timeout=settings.teacher_timeout,
            retries=settings.teacher_retries,
        )
    path = workdir.path / "teacher.keras"
    if not path.exists():
        from kdistill.teachers.providers.digits import train_digits_teacher

        logging.info("training the embedded teacher on its own labelled digits (half a minute)")
        train_digits_teacher(path, settings.seed)
    return open_teacher(str(path), scaling="none")


def start_student(settings: Settings, pixels: np.ndarray | None = None) -> keras.Model:
    """Builds the student as it is before distillation.

    Args:
        settings: of the run.
        pixels: uint8 [n, S, S, 3] unlabelled images from which a projection behind pretrained features starts (see
            `students.initialise_projection`); None leaves its random start.
    """
    keras.utils.set_random_seed(settings.seed)
    student = students.build(
        settings.backbone,
        alpha=settings.alpha,
        image_size=settings.image_size,
        embedding_dim=settings.embedding_dim or None,
        pooling=settings.pooling,
        weights=settings.student_weights,
        hash_bits=settings.hash_bits or None,
    )
    distilled = (settings.student_weights or "").endswith(".keras")
    if pixels is not None and settings.embedding_dim and not distilled:
        students.initialise_projection(student, students.pooled_features(student).predict(pixels, verbose=0))
    return student


def read_images(images: ImageSet, size: int, settings: Settings, description: str) -> LoadedImages:
    """Reads images into memory, tells of each one that had to be skipped."""
    loaded = load_pixels(images, size, strict=settings.strict, description=description)
    for _, reason in loaded.skipped:
        logging.warning("skipped: %s", reason)
    if loaded.skipped:
        logging.warning("%d of %d images were skipped", len(loaded.skipped), len(images))
    return loaded
