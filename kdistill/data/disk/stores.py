"""Where decoded photos are kept: in memory, or in a folder that a later run goes on from.

A folder holds two files for each size L:

    160.pixels   uint8 [m, 160, 160, 3], row after row
    160.keys     16 bytes a row: the first half of the digest of the photo's content

Rows are appended as photos are decoded. A row counts once its key is there, and keys are written after the rows are on
the disk, so a process that is killed at any moment, or a machine that loses its power, leaves no row that is not whole.
"""

import os
import shutil
import threading
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import PIL
from absl import logging

from kdistill.errors import KdistillError
from kdistill.files import made_from
from kdistill.version import __version__

KEY_BYTES = 16
RESERVE = 2**30
"""Bytes of the disk that are always left to others."""
_STRETCH = 1024  # rows between two writings of keys: what a kill makes to be decoded again


class Store(Protocol):
    """Decoded photos by the key of their content; may be used from several threads."""

    def get(self, key: bytes) -> np.ndarray | None:
        """Returns uint8 [L, L, 3], or None where it is not kept."""

    def put(self, key: bytes, pixels: np.ndarray) -> None:
        """Keeps uint8 [L, L, 3] where there is room."""

    def finish(self) -> None:
        """Ends a stretch of work: what was put is safe then."""


class MemoryStore:
    """Keeps photos in memory, as many as it is made for."""

    def __init__(self, count: int, size: int) -> None:
        """Takes room for `count` photos of `size` pixels a side; the system gives it as it is filled."""
        self._pixels = np.empty((count, size, size, 3), np.uint8)
        self._places: dict[bytes, int] = {}
        self._lock = threading.Lock()

    def get(self, key: bytes) -> np.ndarray | None:
        """Returns uint8 [L, L, 3], or None where it is not kept."""
        place = self._places.get(key)
        return None if place is None else self._pixels[place]

    def put(self, key: bytes, pixels: np.ndarray) -> None:
        """Keeps uint8 [L, L, 3] where there is room."""
        with self._lock:
            place = len(self._places)
            if key not in self._places and place < len(self._pixels):
                self._pixels[place] = pixels
                self._places[key] = place

    def finish(self) -> None:
        """Has nothing to do."""


class DiskStore:
    """Keeps photos in a folder, which is read and not mapped: mapped pages would count as memory of the process."""

    def __init__(
        self, folder: Path, size: int, *, limit: int, keys: Collection[bytes], wanted: int, made: Mapping[str, Any]
    ) -> None:
        """Opens a folder, or makes it; what is there of another way to decode is removed.

        Photos of an earlier set stay as long as there is room for all.

        Args:
            folder: that nobody else writes to.
            size: L.
            limit: bytes that the folder may take; less where the disk has not as many.
            keys: of the photos that may be put.
            wanted: how many of them will be, at most.
            made: what else the pixels depend on, as JSON knows it.

        Raises:
            KdistillError: the folder cannot be written.
        """
        self._row = 3 * size * size
        self._size = size
        self._lock, self._writing = threading.Lock(), threading.Lock()
        self._pending: list[bytes] = []
        made_from.claim(
            folder, {**made, "pillow": PIL.__version__, "version": __version__}, ours=("*.pixels", "*.keys")
        )
        try:
            flags = os.O_RDWR | os.O_CREAT
            self._file = os.open(folder / f"{size}.pixels", flags, 0o666)
            self._keys = os.open(folder / f"{size}.keys", flags, 0o666)
            self._places = self._known()
            others = sum(file.stat().st_size for file in folder.glob("*.pixels")) - os.fstat(self._file).st_size
            free = shutil.disk_usage(folder).free - RESERVE
            room = min(limit - others, free + len(self._places) * self._row)
            known = len(self._places.keys() & set(keys))
            if known < len(self._places) and (len(self._places) + wanted - known) * self._row > room:
                self._places, known = {}, 0
            os.ftruncate(self._keys, len(self._places) * KEY_BYTES)
        except OSError as error:
            raise KdistillError(f"{folder} cannot be written: {error.strerror or error}") from error
        self._most = max(0, room // self._row)
        self._next = len(self._places)
        logging.info(
            "decoded photos of %d x %d pixels are kept in %s: %.2f GB for %d photos, of which %d are there; %.1f GB of "
            "the disk are free",
            *(size, size, folder, wanted * self._row / 1e9, wanted, known, (free + RESERVE) / 1e9),
        )
        room_for = max(0, self._most - self._next) + known
        if room_for < wanted:
            logging.warning(
                "%d of %d photos have room there (--cache_gb, and 1 GB of the disk is left free); the others are "
                "decoded again each time",
                *(room_for, wanted),
            )

    def __del__(self) -> None:
        """Closes the files."""
        for name in ("_file", "_keys"):
            if hasattr(self, name):
                os.close(getattr(self, name))

    def get(self, key: bytes) -> np.ndarray | None:
        """Returns uint8 [L, L, 3], or None where it is not kept."""
        place = self._places.get(key)
        if place is None:
            return None
        content = os.pread(self._file, self._row, place * self._row)
        if len(content) < self._row:  # somebody cut the file
            return None
        return np.frombuffer(content, np.uint8).reshape(self._size, self._size, 3)

    def put(self, key: bytes, pixels: np.ndarray) -> None:
        """Keeps uint8 [L, L, 3] where there is room."""
        with self._lock:
            if key in self._places or self._next >= self._most:
                return
            try:
                written = os.pwrite(self._file, np.ascontiguousarray(pixels).data, self._next * self._row)
            except OSError as error:
                self._stop(error)
                return
            if written < self._row:  # the disk is full to the byte; the next row would say so
                self._most = self._next
                return
            self._places[key] = self._next
            self._pending.append(key)
            self._next += 1
            full = len(self._pending) >= _STRETCH
        if full and self._writing.acquire(blocking=False):
            try:
                self._write_keys()
            finally:
                self._writing.release()

    def finish(self) -> None:
        """Writes the keys of all rows so far."""
        with self._writing:
            self._write_keys()

    def _known(self) -> dict[bytes, int]:
        rows = os.fstat(self._file).st_size // self._row
        content = os.pread(self._keys, rows * KEY_BYTES, 0)
        count = min(rows, len(content) // KEY_BYTES)
        return {content[place * KEY_BYTES : (place + 1) * KEY_BYTES]: place for place in range(count)}

    def _write_keys(self) -> None:
        with self._lock:
            keys, first = self._pending, self._next - len(self._pending)
            self._pending = []
        if not keys:
            return
        try:
            os.fdatasync(self._file)
            os.pwrite(self._keys, b"".join(keys), first * KEY_BYTES)
            os.fdatasync(self._keys)
        except OSError as error:
            with self._lock:
                self._stop(error)

    def _stop(self, error: OSError) -> None:
        logging.warning(
            "decoded photos cannot be kept any more (%s); further ones are decoded each time", error.strerror
        )
        self._most = self._next
