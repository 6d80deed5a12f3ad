"""Notices images that were edited after the teacher was asked about them."""

import numpy as np
from absl import logging

from kdistill.data import ImageSet, UnreadableImage
from kdistill.errors import KdistillError


def contents_of(images: ImageSet, indices: np.ndarray) -> np.ndarray:
    """Returns the content hashes, str [n], of the images at some positions; empty for one that is gone by now."""
    return np.array([_content(images, int(index)) for index in indices])


def unchanged_rows(images: ImageSet, contents: np.ndarray | None, *, strict: bool) -> list[int]:
    """Returns the positions of the images that are still those that the teacher was asked about, telling of the others.

    Args:
        images: n images.
        contents: str [n], their hashes when the teacher was asked; None where an older version kept none.
        strict: raise at the first changed image instead.

    Raises:
        KdistillError: under `strict`, or when no image is as it was.
    """
    if contents is None:
        return list(range(len(images)))
    kept = []
    for row, content in enumerate(contents.tolist()):
        now = _content(images, row)
        # One that cannot be read is told of, and skipped, when it is decoded.
        if now in ("", content) or not content:
            kept.append(row)
            continue
        sentence = f"image {images.ids[row]!r} was changed after the teacher was asked about it"
        if strict:
            raise KdistillError(sentence)
        logging.warning("skipped: %s", sentence)
    if not kept:
        raise KdistillError(
            "all images were changed after the teacher was asked about them; name another --workdir to ask again"
        )
    return kept


def _content(images: ImageSet, index: int) -> str:
    try:
        return images[index].content_hash()
    except UnreadableImage:
        return ""
