"""Names that tell one teacher from another, although both lie under the same path."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from kdistill.errors import KdistillError


def file_name(path: Path) -> str:
    """Returns "NAME@DIGEST" of a file or folder: the last part of its path, and a hash of all its bytes.

    Raises:
        KdistillError: missing or unreadable.
    """
    digest = hashlib.sha256()
    try:
        files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
        for file in files:
            digest.update(file.relative_to(path).as_posix().encode())
            with open(file, "rb") as opened:
                digest.update(hashlib.file_digest(opened, "sha256").digest())
    except OSError as error:
        raise KdistillError(f"the teacher {path} cannot be read: {error.strerror or error}") from error
    return f"{path.name}@{digest.hexdigest()[:12]}"


def weights_name(name: str, weights: Iterable[np.ndarray]) -> str:
    """Returns "NAME@DIGEST" of a model in memory, from its weights."""
    digest = hashlib.sha256()
    for array in weights:
        digest.update(str(array.shape).encode() + np.ascontiguousarray(array).tobytes())
    return f"{name}@{digest.hexdigest()[:12]}"
