"""Files and folders that are either whole or absent: written beside their final name, then renamed."""

import contextlib
import hashlib
import json
import os
import shutil
import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from kdistill.errors import KdistillError
from kdistill.files.mapped import mapping_of, release_rows

_PIECE = 1 << 24
"""Bytes of a mapped array that are written at a time."""


@contextlib.contextmanager
def whole_file(path: Path | str) -> Iterator[Path]:
    """Yields a temporary path in the same folder, of the same suffix; it becomes `path` only when the block ends well.

    Raises:
        KdistillError: the folder cannot be written or the disk is full, or the path is a folder, a device or a pipe.
    """
    path = Path(path)
    if not path.name:
        raise KdistillError(f"{str(path)!r} is no name of a file to write")
    if os.path.exists(path) and not os.path.isfile(path):
        # The whole file would take the place of the device itself.
        raise KdistillError(f"{path} cannot be written: it is not a regular file")
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        put_in_place(temporary, path)
    except OSError as error:
        raise KdistillError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


@contextlib.contextmanager
def whole_folder(path: Path | str) -> Iterator[Path]:
    """Yields a temporary folder beside `path`, not yet made; it takes the place of `path` when the block ends well.

    Raises:
        KdistillError: the folder cannot be written or the disk is full.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield temporary
        shutil.rmtree(path, ignore_errors=True)
        os.replace(temporary, path)
    except OSError as error:
        raise KdistillError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def put_in_place(finished: Path, path: Path) -> None:
    """Gives a finished file its final name, in the same folder; its bytes are on the disk before the name is."""
    with open(finished, "rb") as file:
        os.fsync(file.fileno())
    os.replace(finished, path)


def read_bounded(path: Path | str, limit: int) -> bytes:
    """Returns a file's bytes; for files from outside, which may be anything.

    Raises:
        KdistillError: missing, unreadable, no regular file (a pipe would be waited for, a device never ends), or longer
            than `limit` bytes.
    """
    try:
        # A pipe without a writer must not hold up even the opening.
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NONBLOCK", 0))) as file:
            about = os.fstat(file.fileno())
            if not stat.S_ISREG(about.st_mode):
                raise KdistillError(f"{path} is not a regular file")
            if about.st_size > limit:
                raise KdistillError(f"{path} has {about.st_size:,} bytes, more than the {limit:,} that are accepted")
            return file.read(limit)
    except OSError as error:
        raise KdistillError(f"{path} cannot be read: {error.strerror or error}") from error
    except ValueError as error:  # a name with a zero byte
        raise KdistillError(f"{str(path)!r} cannot be read: {error}") from error


def is_text(path: Path | str) -> bool:
    """Says whether a path is UTF-8, which native libraries want of it; any bytes are a file's name."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def sha256_of(path: Path | str) -> str:
    """Returns the sha256 (hex) of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_whole(path: Path, content: str | bytes) -> None:
    """Writes a file so that readers see the old content or the new one, never a part.

    Raises:
        KdistillError: the folder cannot be written or the disk is full.
    """
    with whole_file(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def json_text(content: Any, *, indent: int | None = None) -> str:
    """Returns content as JSON that UTF-8 can hold: readable, and with escapes where a name is no valid text.

    The file system takes names that are no UTF-8; Python reads them as lone surrogates, which only escapes can express.

    Raises:
        ValueError, TypeError: what JSON cannot hold, numbers that are not finite among it.
    """
    text = json.dumps(content, indent=indent, ensure_ascii=False, allow_nan=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(content, indent=indent, allow_nan=False)
    return text


def write_json(path: Path, content: Any) -> None:
    """Writes content as indented JSON, as `write_whole` writes.

    Raises:
        KdistillError: the folder cannot be written or the disk is full.
    """
    write_whole(path, json.dumps(content, indent=2) + "\n")


def write_arrays(path: Path, **arrays: np.ndarray) -> None:
    """Writes an `.npz` file as `whole_file` does; equal arrays give equal bytes, and memory-mapped ones are not copied.

    Raises:
        KdistillError: the folder cannot be written or the disk is full.
    """
    with whole_file(path) as temporary, zipfile.ZipFile(temporary, "w", allowZip64=True) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                _write_array(member, array)


def _write_array(file: IO[bytes], array: np.ndarray) -> None:
    """Writes what `np.save` does; pages of a mapping are handed back."""
    if array.ndim == 0 or mapping_of(array) is None:
        np.lib.format.write_array(file, array, allow_pickle=False)
        return
    np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
    rows = max(1, _PIECE // max(1, array.strides[0]))
    for first in range(0, len(array), rows):
        file.write(array[first : first + rows].tobytes())
        release_rows(array, first, first + rows)


def read_json_object(path: Path) -> dict[str, Any]:
    """Returns the object in a JSON file of ours, or an empty one where there is no file.

    Raises:
        KdistillError: it cannot be read, or holds something else.
    """
    try:
        return dict(json.loads(path.read_text()))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise KdistillError(f"{path} cannot be read ({error}); restore it or delete it") from error
