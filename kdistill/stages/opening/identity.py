"""What a training is made from."""

import hashlib
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from kdistill.version import __version__

_ROWS = 8192  # of the targets at a time, which may be memory-mapped


def training_identity(
    settings: Mapping[str, Any], network: keras.Model, images: str, targets: np.ndarray
) -> dict[str, Any]:
    """Returns settings, and digests of the network's start, of the images and the targets.

    Args:
        settings: that decide the result, by name.
        network: before its training.
        images: digest (hex) of what views are cropped from.
        targets: of the images, any shape.
    """
    start = hashlib.sha256()
    for weights in network.get_weights():
        start.update(np.ascontiguousarray(weights).tobytes())
    return {
        "settings": dict(settings),
        "start": start.hexdigest()[:16],
        "images": images,
        "targets": digest_of_rows(targets),
        "version": __version__,
    }


def digest_of_rows(targets: np.ndarray) -> str:
    """Returns a digest (hex) of an array of any shape, which may be memory-mapped."""
    digest = hashlib.sha256(repr(targets.shape).encode())
    for first in range(0, len(targets), _ROWS):
        digest.update(np.ascontiguousarray(targets[first : first + _ROWS]).tobytes())
    return digest.hexdigest()[:16]
