"""Names that tell one teacher from another, although both lie under the same path: a hash of all that decides."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from kdistill.runtimes.digest import model_digest


def file_name(path: Path) -> str:
    """Returns "NAME@DIGEST" of a file or folder: the last part of its path, and a hash of all that it consists of.

    Raises:
        KdistillError: missing or unreadable.
    """
    return f"{path.name}@{model_digest(path)[:12]}"


def model_name(model: Any) -> str:
    """Returns "NAME@DIGEST" of a Keras model in memory, from its configuration and weights.

    The same layers with the same weights have the same digest whatever Keras called them.
    """
    from kdistill.runtimes.keras_models.keras_config import fingerprint_text

    digest = hashlib.sha256(fingerprint_text(model).encode())
    for array in model.get_weights():
        digest.update(f"{array.dtype}{array.shape}".encode() + np.ascontiguousarray(array).tobytes())
    return f"{model.name}@{digest.hexdigest()[:12]}"
