"""Zip archives from outside (`.npz`, `.keras`): refused before a small file becomes gigabytes of memory."""

import math
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from kdistill.errors import KdistillError

ALWAYS_ACCEPTED_BYTES = 256 << 20
"""An archive whose content takes no more than this may be packed as tightly as it likes."""

MAX_RATIO = 20
"""A larger one may unpack to so many times its size: vectors and weights hardly shrink, zeros 1000 times."""

MAX_ENTRIES = 10_000

_LOCAL_HEADER, _NAME_LENGTH = 30, 26
"""Bytes before the name in an entry's own header, and where in it the lengths of name and extra field stand (APPNOTE
4.3.7)."""


def check_archive(path: Path | str) -> None:
    """Raises KdistillError unless a file is a zip archive that does not unpack to absurd amounts.

    Only the list of contents is read. It may lie about sizes, but no reader unpacks more of an entry than it says.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    # zipfile raises many kinds of errors on damaged files; each means the same to the user.
    except Exception as error:
        raise KdistillError(f"{path} cannot be read: {error or type(error).__name__}") from error
    size, packed = sum(entry.file_size for entry in entries), Path(path).stat().st_size
    if len(entries) > MAX_ENTRIES or size > max(ALWAYS_ACCEPTED_BYTES, MAX_RATIO * packed):
        raise KdistillError(
            f"{path} has {packed:,} bytes and would unpack to {size:,} in {len(entries):,} files, "
            f"more than {MAX_RATIO} times its size"
        )


def texts(names: np.ndarray) -> list[str]:
    """Returns an array of names [n], of numpy's texts, bytes (UTF-8) or numbers, as texts.

    Raises:
        KdistillError: the array has another number of axes.
    """
    if names.ndim != 1:
        raise KdistillError(f"names stand in one row, [n]; these have the shape {list(names.shape)}")
    if names.dtype.kind == "S":
        return [name.decode("utf-8", "surrogateescape") for name in names.tolist()]
    return [str(name) for name in names.tolist()]


def load_arrays(path: Path | str, names: Iterable[str]) -> list[np.ndarray]:
    """Returns some arrays of an `.npz` file; pickled ones are refused.

    Raises:
        KdistillError: missing, damaged, a bomb, or without one of the arrays.
    """
    check_archive(path)
    try:
        with np.load(path, allow_pickle=False) as arrays:
            absent = [name for name in names if name not in arrays.files]
            if absent:
                held = ", ".join(arrays.files) or "none"
                raise KdistillError(f"{path} has no array {' and no '.join(absent)}; it has {held}")
            return [arrays[name] for name in names]
    except KdistillError:
        raise
    # numpy and zipfile raise many kinds of errors on damaged files; each means the same to the user.
    except Exception as error:
        raise KdistillError(f"{path} cannot be read: {error or type(error).__name__}") from error


def map_arrays(path: Path | str, names: Iterable[str]) -> list[np.ndarray]:
    """Returns some arrays of an `.npz` file as `load_arrays` does, memory-mapped where they are not compressed.

    Raises:
        KdistillError: as `load_arrays`.
    """
    names = list(names)
    check_archive(path)
    try:
        with zipfile.ZipFile(path) as archive:
            entries = {name: archive.NameToInfo.get(f"{name}.npy") for name in names}
            if not all(entry is not None and entry.compress_type == zipfile.ZIP_STORED for entry in entries.values()):
                return load_arrays(path, names)
            return [_mapped(path, archive, entry) for entry in entries.values() if entry is not None]
    except KdistillError:
        raise
    # numpy and zipfile raise many kinds of errors on damaged files; each means the same to the user.
    except Exception as error:
        raise KdistillError(f"{path} cannot be read: {error or type(error).__name__}") from error


def _mapped(path: Path | str, archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> np.ndarray:
    with archive.open(entry) as member:
        version = np.lib.format.read_magic(member)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read_header(member)
        header = member.tell()
    if dtype.hasobject:
        raise ValueError("pickled arrays are refused")
    if entry.file_size != header + dtype.itemsize * math.prod(shape):
        raise ValueError(f"{entry.filename} does not hold as many numbers as it says")
    if 0 in shape:
        return np.empty(shape, dtype)
    with open(path, "rb") as file:
        file.seek(entry.header_offset + _NAME_LENGTH)
        lengths = int.from_bytes(file.read(2), "little") + int.from_bytes(file.read(2), "little")
    start = entry.header_offset + _LOCAL_HEADER + lengths + header
    return np.memmap(path, dtype, "r", start, shape, "F" if fortran else "C")
