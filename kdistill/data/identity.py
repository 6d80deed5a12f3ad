"""Which images a result was made from: a digest for each, and what changed between two sets of digests.

Files are read once. Later their digests come from a cache, as long as size, times and inode of a file are unchanged:
100,000 files that did not change take a second or two, and a file that was replaced under its name is read again.
"""

import dataclasses
import hashlib
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from absl import logging

from kdistill.console.progress import progress_bar
from kdistill.data.decoding import MAX_IMAGE_BYTES, UnreadableImage
from kdistill.data.images import Image, ImageSet
from kdistill.errors import KdistillError
from kdistill.files.whole import read_bounded, write_whole

UNREADABLE = "unreadable"
"""Stands for the digest of an image that cannot be read: it changes when the image can be."""

MAX_CACHE_BYTES = 1 << 30
"""Of a cache that is read; a file's entry takes some 200 bytes."""

SETTLED_NS = 2_000_000_000
"""A file that changed within so many nanoseconds may change again under the same times, so it is not cached yet."""

SHOWN_NAMES = 3


@dataclasses.dataclass(frozen=True)
class Changes:
    """What differs between two sets of images: sorted ids.

    Attributes:
        added: only in the later set.
        removed: only in the earlier one.
        replaced: in both, with other content.
    """

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Returns whether anything differs."""
        return bool(self.added or self.removed or self.replaced)

    def __str__(self) -> str:
        """Returns one line such as "2 added ('c.jpg', 'd.jpg'), 1 replaced ('a/b.jpg')"; "no change" if so."""
        parts = []
        for what in ("added", "removed", "replaced"):
            ids = getattr(self, what)
            if ids:
                names = ", ".join(map(repr, ids[:SHOWN_NAMES])) + (", ..." if len(ids) > SHOWN_NAMES else "")
                parts.append(f"{len(ids):,} {what} ({names})")
        return ", ".join(parts) or "no change"


def changes(before: Mapping[str, str], after: Mapping[str, str]) -> Changes:
    """Compares two results of `identities`."""
    return Changes(
        tuple(sorted(after.keys() - before.keys())),
        tuple(sorted(before.keys() - after.keys())),
        tuple(sorted(name for name in before.keys() & after.keys() if before[name] != after[name])),
    )


def digest_of(found: Mapping[str, str]) -> str:
    """Returns one digest (hex) of a result of `identities`, names and order included."""
    return hashlib.sha256(json.dumps(dict(found)).encode()).hexdigest()[:16]


def identities(images: ImageSet, cache: Path | None = None) -> dict[str, str]:
    """Returns for each id a digest (hex) that changes whenever the image's content does; nothing is decoded.

    For a file it is the sha256 of its bytes, with the box where there is one; for pixels in memory of the pixels. An
    image that cannot be read has the digest UNREADABLE.

    Args:
        images: the set.
        cache: a JSON file, which need not exist, that saves reading files that did not change. It may serve any number
            of sets. Damaged, it is made anew; where it cannot be written, one line says so.
    """
    known = _read_cache(cache)
    files: dict[str, str] = {}
    found: dict[str, str] = {}
    fresh: dict[str, list[Any]] = {}
    unseen = []
    for image in images:
        if image.path is None:
            found[image.id] = _of_pixels(image)
            continue
        path = os.path.abspath(image.path)
        if path not in files:
            state, entry = _state(path), known.get(path)
            if state is not None and entry is not None and entry[:-1] == state:
                files[path] = entry[-1]
            else:
                files[path] = UNREADABLE
                unseen.append(path)
    try:
        for path in progress_bar(unseen, description="hashing") if unseen else ():
            before = _state(path)
            try:
                files[path] = hashlib.sha256(read_bounded(path, MAX_IMAGE_BYTES)).hexdigest()
            except KdistillError:
                continue
            if before is not None and before == _state(path) and _settled(before):
                fresh[path] = [*before, files[path]]
    finally:  # an interrupted first pass over a large set is not begun anew
        if cache is not None and fresh:
            _write_cache(cache, known | fresh)
    for image in images:
        if image.path is not None:
            found[image.id] = _with_box(files[os.path.abspath(image.path)], image)
    return {name: found[name] for name in images.ids}


def _of_pixels(image: Image) -> str:
    if image.array is None:
        raise UnreadableImage(f"image {image.id!r} has neither a file nor pixels")
    digest = hashlib.sha256(repr((image.array.shape, str(image.array.dtype))).encode())
    digest.update(image.array.tobytes())
    return _with_box(digest.hexdigest(), image)


def _with_box(digest: str, image: Image) -> str:
    if image.box is None or digest == UNREADABLE:
        return digest
    return hashlib.sha256(repr((digest, tuple(float(edge) for edge in image.box))).encode()).hexdigest()


def _state(path: str) -> list[int] | None:
    """Returns what changes with a file's content, whatever its times were set to; links are followed."""
    try:
        about = os.stat(path)
    except (OSError, ValueError):
        return None
    return [about.st_size, about.st_mtime_ns, about.st_ctime_ns, about.st_ino]


def _settled(state: list[int]) -> bool:
    """Returns whether another change would show in the times, which have a grain of up to two seconds."""
    _, modified, changed, _ = state
    now = time.time_ns()
    return changed < now - SETTLED_NS and abs(now - modified) > SETTLED_NS


def _read_cache(cache: Path | None) -> dict[str, list[Any]]:
    if cache is None or not os.path.exists(cache):
        return {}
    try:
        content = json.loads(read_bounded(cache, MAX_CACHE_BYTES))
        entries = content["files"]
        if content["format"] != 1 or not all(_is_entry(entry) for entry in entries.values()):
            raise ValueError("it is of another kind")
        return entries
    # A cache holds nothing that cannot be made again.
    except (KdistillError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        logging.warning("the digests of images in %s cannot be used (%s); the images are read again", cache, error)
        return {}


def _is_entry(entry: Any) -> bool:
    return isinstance(entry, list) and [type(item) for item in entry] == [int, int, int, int, str]


def _write_cache(cache: Path, entries: dict[str, list[Any]]) -> None:
    try:
        # Names that are no text stand in it as escapes, as `json` writes and reads them.
        write_whole(cache, json.dumps({"format": 1, "files": entries}, separators=(",", ":")))
    except KdistillError as error:
        logging.warning("%s; the images will be read again next time", error)
