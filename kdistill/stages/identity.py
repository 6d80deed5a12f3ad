"""What a training is made from."""

import hashlib
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from kdistill.version import __version__


def training_identity(
    settings: Mapping[str, Any], network: keras.Model, pixels: np.ndarray, targets: np.ndarray
) -> dict[str, Any]:
    """Returns settings, and digests of the network's start, the images and the targets.

    Args:
        settings: that decide the result, by name.
        network: before its training.
        pixels: uint8 [n, L, L, 3], what views are cropped from.
        targets: of the images, any shape.
    """
    start = hashlib.sha256()
    for weights in network.get_weights():
        start.update(np.ascontiguousarray(weights).tobytes())
    return {
        "settings": dict(settings),
        "start": start.hexdigest()[:16],
        "images": hashlib.sha256(np.ascontiguousarray(pixels).data).hexdigest()[:16],
        "targets": hashlib.sha256(repr(targets.shape).encode() + np.ascontiguousarray(targets).tobytes()).hexdigest()[
            :16
        ],
        "version": __version__,
    }
