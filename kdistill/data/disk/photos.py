"""Photos at one size, decoded when they are asked for; they stand for an array of all of them."""

import hashlib
import itertools
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from absl import logging

from kdistill.console.progress import progress_bar
from kdistill.data.decoding import UnreadableImage, resize
from kdistill.data.disk.stores import KEY_BYTES, Store
from kdistill.data.identity import UNREADABLE
from kdistill.data.images import ImageSet

LOOKED_AT = 2048
"""Photos of a pool that are decoded before the first step: all of a pool of so many, and as many of a larger one."""
_BLOCK = 256


class Photos:
    """Decoded and resized photos by their row, as an array uint8 [n, L, L, 3] would give them.

    Attributes:
        images: n images.
        size: L.
        shape: (n, L, L, 3).
        failure: what ended the work under `strict`.
    """

    def __init__(
        self, images: ImageSet, size: int, store: Store, digests: Sequence[str], *, strict: bool = False
    ) -> None:
        """Takes images of which none is read yet.

        Args:
            images: the set.
            size: side of the square that each is resized to.
            store: where decoded ones are kept.
            digests: of the content of each image, as `identities` gives them.
            strict: raise on an unreadable image instead of taking another.
        """
        self.images, self.size, self.store, self._digests = images, size, store, list(digests)
        self.shape = (len(images), size, size, 3)
        self.failure: UnreadableImage | None = None
        self._strict = strict
        self._told: set[int] = set()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> np.ndarray:
        """Returns uint8 [L, L, 3].

        Raises:
            UnreadableImage: it cannot be read.
        """
        key = self._key(row)
        kept = None if key is None else self.store.get(key)
        return self._keep(row, self.images[row].pixels()) if kept is None else kept

    def from_row(self, row: int) -> tuple[np.ndarray, int]:
        """Returns a photo uint8 [L, L, 3] and its row: of the first that can be read from `row` on, around the end.

        Raises:
            UnreadableImage: under `strict`, or when none can be read.
        """
        for place in itertools.chain(range(row, len(self)), range(row)):
            try:
                return self[place], place
            except UnreadableImage as error:
                if self._strict:
                    self.failure = error
                    raise
                if place not in self._told:
                    self._told.add(place)
                    logging.warning("skipped: %s; the next image of the list takes its place", error)
        self.failure = UnreadableImage(f"none of the {len(self)} images can be read")
        raise self.failure

    def look(self, rows: np.ndarray, size: int, description: str = "reading") -> "Look":
        """Decodes some photos, keeps them, and gives them at another size too, each resized from the whole file.

        Args:
            rows: int64 [m].
            size: S.
            description: the word in front of the progress bar.
        """
        return Look(self, rows, size, description)

    def subset(self, rows: np.ndarray) -> "Photos":
        """Returns the photos of some rows, int [m], in that order; what is kept is shared."""
        digests = [self._digests[row] for row in rows]
        return Photos(self.images.subset(rows), self.size, self.store, digests, strict=self._strict)

    @property
    def digest(self) -> str:
        """A digest (hex) of what all photos look like, from the content of their files: nothing is decoded for it."""
        return hashlib.sha256("\n".join([str(self.size), *self._digests]).encode()).hexdigest()[:16]

    def read(self, row: int, size: int) -> np.ndarray:
        """Returns uint8 [size, size, 3], resized from the whole file, and keeps the photo at the size L.

        Raises:
            UnreadableImage: it cannot be read.
        """
        if size == self.size:
            return self[row]
        pixels = self.images[row].pixels()
        self._keep(row, pixels)
        return resize(pixels, size)

    def _keep(self, row: int, pixels: np.ndarray) -> np.ndarray:
        resized, key = resize(pixels, self.size), self._key(row)
        if key is not None:
            self.store.put(key, resized)
        return resized

    def _key(self, row: int) -> bytes | None:
        return key_of(self._digests[row])


def key_of(digest: str) -> bytes | None:
    """Returns what a store knows a photo by, from the digest of its content; None for one that cannot be read."""
    return None if digest == UNREADABLE else bytes.fromhex(digest)[:KEY_BYTES]


class Look:
    """Photos that are read in blocks.

    Attributes:
        rows: int64 [k], those that could be read; known after all blocks are.
        skipped: (id, reason) of the others.
    """

    def __init__(self, photos: Photos, rows: np.ndarray, size: int, description: str) -> None:
        """See `Photos.look`."""
        self._photos, self._wanted, self._size, self._description = photos, rows, size, description
        self.rows = np.empty(0, np.int64)
        self.skipped: list[tuple[str, str]] = []

    def blocks(self) -> Iterator[np.ndarray]:
        """Yields uint8 [256, S, S, 3], the last one shorter: the readable photos in the order of the rows.

        Raises:
            UnreadableImage: under `strict`, or when not one can be read.
        """
        readable: list[int] = []
        block: list[np.ndarray] = []
        with (
            ThreadPoolExecutor(os.cpu_count()) as pool,
            progress_bar(total=len(self._wanted), description=self._description) as bar,
        ):
            for first in range(0, len(self._wanted), _BLOCK):
                part = self._wanted[first : first + _BLOCK].tolist()
                for row, pixels in zip(part, pool.map(self._read, part), strict=True):
                    if isinstance(pixels, UnreadableImage):
                        if self._photos._strict:
                            raise pixels
                        logging.warning("skipped: %s", pixels)
                        self.skipped.append((self._photos.images.ids[row], str(pixels)))
                        continue
                    readable.append(row)
                    block.append(pixels)
                    if len(block) == _BLOCK:
                        yield np.stack(block)
                        block = []
                bar.update(len(part))
        self.rows = np.array(readable, np.int64)
        if self.skipped:
            logging.warning("%d of %d images were skipped", len(self.skipped), len(self._wanted))
        if not readable:
            reason = self.skipped[0][1] if self.skipped else "the list is empty"
            raise UnreadableImage(f"none of the {len(self._wanted)} images can be read: {reason}")
        if block:
            yield np.stack(block)

    def finish(self) -> None:
        """Reads what is left, for who does not need the blocks."""
        for _ in self.blocks():
            pass

    def _read(self, row: int) -> np.ndarray | UnreadableImage:
        try:
            return self._photos.read(row, self._size)
        except UnreadableImage as error:
            return error


def rows_looked_at(count: int, most: int | None = None) -> np.ndarray:
    """Returns int64 [at most `most`, or LOOKED_AT], which of `count` photos are decoded first: evenly spread."""
    return np.arange(0, count, -(-count // (most or LOOKED_AT)) or 1, dtype=np.int64)
