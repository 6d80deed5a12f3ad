"""Rows of a gallery, block by block, without keeping them in memory."""

import mmap
import os
import threading

import numpy as np

from kdistill.evaluation.blockwise.stacked import StackedRows
from kdistill.files.mapped import mapping_of, offset_in, release_rows

Rows = np.ndarray | StackedRows
"""A gallery [G, D]: one array, possibly memory-mapped, or several seen as one."""


class BlockReader:
    """Gives blocks of rows to several threads.

    A read-only memory-mapped file is read into a buffer of each thread, which takes a third of the time of faulting its
    pages in and handing them back. Any other gallery is sliced, and pages of mappings are handed back after use.
    """

    def __init__(self, gallery: Rows) -> None:
        """Takes the gallery [G, D]."""
        self._gallery = gallery
        self._buffers = threading.local()
        self._descriptor: int | None = None
        place = _place_in_file(gallery)
        if place is not None:
            name, self._offset = place
            self._descriptor = os.open(name, os.O_RDONLY)
            # The name may belong to another file by now, while the mapping still shows the old one.
            ends = [0, len(gallery) - 1]
            if not all(np.array_equal(self.rows(end, end + 1), gallery[end : end + 1]) for end in ends):
                self.close()

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Returns the rows [start, stop) that exist, [n, D]; valid until this thread asks again or calls `done`."""
        stop = min(stop, len(self._gallery))
        if self._descriptor is None:
            return self._gallery[start:stop]
        dtype, columns = self._gallery.dtype, self._gallery.shape[1]  # type: ignore[union-attr]
        buffer = getattr(self._buffers, "rows", None)
        if buffer is None or len(buffer) < stop - start:
            buffer = self._buffers.rows = np.empty((stop - start, columns), dtype)
        block = buffer[: stop - start]
        position = self._offset + start * columns * dtype.itemsize
        if os.preadv(self._descriptor, [block.view(np.uint8).data], position) < block.nbytes:
            return self._gallery[start:stop]
        return block

    def done(self, start: int, stop: int) -> None:
        """Says that the rows [start, stop) are not needed any more."""
        if self._descriptor is None:
            release_pages(self._gallery, start, stop)

    def close(self) -> None:
        """Closes the file; rows are sliced from then on."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def release_pages(rows: Rows, start: int, stop: int) -> None:
    """Hands back rows [start, stop) of read-only memory mappings, see `release_rows`."""
    if isinstance(rows, StackedRows):
        for part, first, last in rows.pieces(start, stop):
            release_rows(part, first, last)
        return
    release_rows(rows, start, stop)


def _place_in_file(rows: Rows) -> tuple[str, int] | None:
    """Returns the file that a mapped gallery lies in and the byte where it begins, or None."""
    if not isinstance(rows, np.memmap) or rows.filename is None or not hasattr(os, "preadv"):
        return None
    mapping = mapping_of(rows)
    if mapping is None or not os.path.isfile(rows.filename):
        return None
    begin = rows.offset - rows.offset % mmap.ALLOCATIONGRANULARITY
    return os.fspath(rows.filename), begin + offset_in(mapping, rows)
