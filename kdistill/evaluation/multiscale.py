"""Multi-scale descriptors: one embedding from views of an image at several input sizes."""

from collections.abc import Sequence

import keras
import numpy as np

from kdistill import students
from kdistill.data.images import ImageSet
from kdistill.errors import ArgumentError
from kdistill.evaluation.blockwise.similarity import unit_rows
from kdistill.evaluation.embedding import Embedded, embed_images


def parse_scales(text: str) -> tuple[float, ...]:
    """Returns the scales that a flag such as "1,0.7071,0.5" names.

    Raises:
        ArgumentError: something else than numbers above 0 and up to 4, or a scale twice.
    """
    try:
        scales = tuple(float(part) for part in text.split(","))
    except ValueError:
        raise ArgumentError(f"scales {text!r} should be numbers such as 1,0.7071,0.5") from None
    if not all(0 < scale <= 4 for scale in scales) or len(set(scales)) != len(scales):
        raise ArgumentError(f"scales {text!r} should be different numbers above 0 and up to 4")
    return scales


def embed_multiscale(
    student: keras.Model,
    images: ImageSet,
    *,
    scales: Sequence[float] = (1.0, 2**-0.5, 0.5),
    image_size: int | None = None,
    batch_size: int = 32,
    strict: bool = False,
    description: str = "embedding",
) -> Embedded:
    """Embeds each image at several sizes, averages the unit vectors and normalises the average.

    The descriptor of Radenović et al. (TPAMI 2019, arXiv 1711.02512, section 5.2) with average pooling over scales.
    The student is rebuilt, weights copied, for each size (rounded to whole pixels): its input size is fixed.

    Args:
        student: a fully convolutional student (see `students.build`).
        images: what to embed.
        scales: factors of `image_size`.
        image_size: size at scale 1; None for the student's own.
        batch_size: images in one call.
        strict: raise on the first unreadable image instead of skipping it.
        description: the word in front of the progress bar.

    Raises:
        UnreadableImage: under `strict`, or when not one image can be read.
    """
    own = students.image_size(student)
    base = image_size or own
    total: np.ndarray | None = None
    for scale in scales:
        size = max(1, round(base * scale))
        model = student if size == own else students.at_size(student, size)
        embedded = embed_images(
            model,
            images,
            image_size=size,
            batch_size=batch_size,
            strict=strict,
            description=f"{description} at {size} px",
        )
        unit = unit_rows(embedded.embeddings)
        total = unit if total is None else total + unit
    if total is None:
        raise ArgumentError("at least one scale is needed")
    return Embedded(unit_rows(total), embedded.indices, embedded.skipped)
