"""Read-only memory mappings: their pages count as memory of the process until they are handed back."""

import mmap

import numpy as np

_ROWS_A_TIME = 1024


def mapping_of(rows: np.ndarray) -> mmap.mmap | None:
    """Returns the mapping behind a contiguous array that cannot be written to, or None."""
    mapping = rows.base
    while isinstance(mapping, np.ndarray):
        mapping = mapping.base
    if rows.flags.writeable or not isinstance(mapping, mmap.mmap) or not rows.flags.c_contiguous:
        return None
    return mapping


def offset_in(mapping: mmap.mmap, rows: np.ndarray) -> int:
    """Returns at which byte of a mapping an array of it begins."""
    return int(rows.ctypes.data - np.frombuffer(mapping, np.uint8).ctypes.data)


def release_rows(rows: np.ndarray, start: int, stop: int) -> None:
    """Tells the system that rows [start, stop) of an array are not needed any more, if it is a read-only mapping.

    The pages stay in the file cache; they only stop counting as memory of this process. Writable arrays are left
    alone: for a copy-on-write mapping the same advice would discard changes.
    """
    mapping = mapping_of(rows)
    if mapping is None:
        return
    first_byte = offset_in(mapping, rows) + start * rows.strides[0]
    first_byte -= first_byte % mmap.PAGESIZE
    length = min(offset_in(mapping, rows) + stop * rows.strides[0], len(mapping)) - first_byte
    if length > 0 and hasattr(mmap, "MADV_DONTNEED"):
        mapping.madvise(mmap.MADV_DONTNEED, first_byte, length)


def take_rows(rows: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Returns rows[places], a copy [n, ...], for places int [n] of at least 0; pages of a mapping are handed back."""
    taken = np.empty((len(places), *rows.shape[1:]), rows.dtype)
    order = np.argsort(places)
    for first in range(0, len(order), _ROWS_A_TIME):
        some = order[first : first + _ROWS_A_TIME]
        taken[some] = rows[places[some]]
        release_rows(rows, int(places[some[0]]), int(places[some[-1]]) + 1)
    return taken
