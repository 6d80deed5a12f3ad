"""The embedded default: scikit-learn's bundled digits, real scans that need no download and no account."""

import numpy as np

from kdistill.data.images import Image, ImageSet, resize
from kdistill.data.retrieval_data import RetrievalData

SIZE = 32
"""Side in pixels to which the 8 x 8 scans are enlarged."""
STUDENT_CLASSES = (0, 1, 2, 3, 4, 5, 6)
"""The pool shows these; the others are searched in the test and never seen by the student."""
VALIDATION_SCANS = 100


def digits_data(seed: int = 0) -> RetrievalData:
    """Returns the pool (about 520 scans of 0 to 6), 100 more to validate on, and the gallery (about 270 of 7, 8, 9).

    The other half of the scans is the teacher's own: see `teacher_digits`. Source: "Optical Recognition of
    Handwritten Digits" (UCI, CC BY 4.0) as bundled by scikit-learn.
    """
    images, half = _split(seed)
    assert images.labels is not None
    known = np.isin(images.labels, STUDENT_CLASSES)
    seen = np.flatnonzero(half & known)
    return RetrievalData(
        name="digits",
        pool=images.subset(seen[VALIDATION_SCANS:]).without_labels(),
        gallery=images.subset(np.flatnonzero(half & ~known)),
        validation=images.subset(seen[:VALIDATION_SCANS]),
    )


def teacher_digits(seed: int = 0) -> ImageSet:
    """Returns the teacher's labelled half: all ten classes, no image in common with `digits_data` of the same seed."""
    images, half = _split(seed)
    return images.subset(np.flatnonzero(~half))


def _split(seed: int) -> tuple[ImageSet, np.ndarray]:
    # Imported here: scikit-learn takes a second to load and only this source needs it.
    import sklearn.datasets

    bundled = sklearn.datasets.load_digits()
    scans = (bundled.images / 16 * 255).round().astype(np.uint8)
    enlarged = [resize(np.repeat(scan[:, :, None], 3, axis=2), SIZE) for scan in scans]
    images = ImageSet(
        [Image(f"digit_{index:04d}.png", array=pixels) for index, pixels in enumerate(enlarged)], bundled.target
    )
    half = np.zeros(len(images), bool)
    half[np.random.default_rng(seed).permutation(len(images))[: len(images) // 2]] = True
    return images, half
