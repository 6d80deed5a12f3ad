"""A hash of everything that decides what a model or table answers."""

import hashlib
import os
from pathlib import Path

from kdistill.errors import KdistillError
from kdistill.files.whole import sha256_of


def model_digest(path: Path | str) -> str:
    """Returns a sha256 (hex) over a file, or over all files of a folder (a SavedModel's variables and assets).

    So do the files beside one that it cannot be read without: weights of an `.onnx` file, ids of a `.npy` table.

    Raises:
        KdistillError: missing or unreadable.
    """
    path = Path(path)
    digest = hashlib.sha256()
    try:
        for name, file in _parts(path):
            digest.update(name.encode("utf-8", "surrogateescape") + bytes.fromhex(sha256_of(file)))
    except OSError as error:
        raise KdistillError(f"{path} cannot be read: {error.strerror or error}") from error
    return digest.hexdigest()


def _parts(path: Path) -> list[tuple[str, Path]]:
    """Returns (name within the model, file) of everything that it consists of, sorted."""
    if path.is_dir():
        # Links are followed: downloaded models often consist of them.
        found = [Path(folder) / name for folder, _, names in os.walk(path, followlinks=True) for name in names]
        return sorted((file.relative_to(path).as_posix(), file) for file in found if file.is_file())
    parts = [(".", path)]
    if path.suffix == ".onnx":
        from kdistill.runtimes.onnx import external_files

        parts += [(file.relative_to(path.parent).as_posix(), file) for file in external_files(path)]
    if path.suffix == ".npy" and path.with_suffix(".txt").is_file():
        parts.append((".txt", path.with_suffix(".txt")))
    return parts
