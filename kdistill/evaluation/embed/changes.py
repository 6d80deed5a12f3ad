"""Continuing an embedding job whose images have changed: rows of unchanged images stay, the others are made again.

A finished shard's list of images goes into `previous-....json` while its matrix serves the new one; of an unfinished
shard the rows before the first changed image stay. Each step leaves files from which a later run continues.
"""

import json
from collections.abc import Generator
from pathlib import Path

import numpy as np
from absl import logging

from kdistill.evaluation.embed.contents import Contents
from kdistill.evaluation.embed.parts import Part, Parts
from kdistill.evaluation.embed.shards import HEADER_BYTES, ProgressRecord, ShardFiles
from kdistill.files.whole import put_in_place, write_whole

_ROWS = 8192
"""Rows that are copied at a time."""

Kept = dict[int, int | tuple[str, str]]
"""Position of an image in its shard -> its row in the finished matrix, or (id, reason) where it could not be read."""


def follow_changes(files: ShardFiles, record: ProgressRecord, now: Contents, names: str, start: int) -> Kept:
    """Brings a shard's record and files in line with its images as they are now; returns what need not be done again.

    Args:
        files: of the shard.
        record: as it was found; it is changed and saved.
        now: the images of the shard.
        names: hash of the names of all images (see `names_digest`).
        start: position of the shard's first image.

    Raises:
        KdistillError: a damaged list of images.
    """
    if record.done and files.partial.exists():  # killed before the finished file got its name
        put_in_place(files.partial, files.matrix)
    if not _rows_are_there(files, record):
        record.keep_first((), 0)
    before = Contents.read(files.images)
    moved = (record.names, record.start) != (names, start)
    if before != now:
        if record.done:
            content = {"ids": before.ids, "stamps": before.stamps, "skipped": record.skipped}
            write_whole(files.previous, json.dumps(content))
        same = 0 if record.done else before.unchanged_before(now, record.next - record.start)
        record.keep_first(now.ids, same)
    if before != now or moved:
        record.move(names, start)
        # The record first: with the list first, a kill in between would make old rows look like those of the new list.
        record.save()
        now.write(files.images)
    kept = {} if record.done else _kept(files, now)
    if before != now and before.ids:
        first = record.next - start
        logging.warning(
            "the images have changed since they were embedded to %s (%s): %d are embedded now, the others stay",
            *(files.matrix, before.changes(now), sum(n not in kept for n in range(first, len(now.ids)))),
        )
    return kept


def _rows_are_there(files: ShardFiles, record: ProgressRecord) -> bool:
    file = files.matrix if record.done else files.partial
    needed = HEADER_BYTES + 4 * record.rows * record.dim
    return not record.rows or (file.exists() and file.stat().st_size >= needed)


def _kept(files: ShardFiles, now: Contents) -> Kept:
    """Returns what the finished matrix, made of the images in `previous-....json`, holds of the images as they are."""
    if not files.previous.exists() or not files.matrix.exists():
        return {}
    before = Contents.read(files.previous)
    skipped = dict(json.loads(files.previous.read_text(encoding="utf-8")).get("skipped", []))
    held: dict[tuple[str, str], int | tuple[str, str]] = {}
    row = 0
    for name, stamp in zip(before.ids, before.stamps, strict=True):
        held[name, stamp] = (name, str(skipped[name])) if name in skipped else row
        row += name not in skipped
    if len(np.load(files.matrix, mmap_mode="r")) != row:
        return {}
    images = enumerate(zip(now.ids, now.stamps, strict=True))
    return {position: held[image] for position, image in images if image in held}


def reusing(engine: Parts, kept: Kept, matrix: Path, first: int) -> Parts:
    """Returns an engine that takes the `kept` rows from a finished matrix and asks `engine` for the others.

    Args:
        engine: what embeds.
        kept: from `follow_changes`.
        matrix: the finished `.npy` file.
        first: position of the shard's first image.
    """
    if not kept:
        return engine
    rows = np.load(matrix, mmap_mode="r")

    def parts(start: int, stop: int) -> Generator[Part, None, None]:
        while start < stop:
            known = start - first in kept
            end = start + 1
            while end < stop and (end - first in kept) == known and not (known and end - start == _ROWS):
                end += 1
            if known:
                found = [kept[position - first] for position in range(start, end)]
                chosen = np.ascontiguousarray(rows[[row for row in found if isinstance(row, int)]], np.float32)
                yield Part(chosen, tuple(row for row in found if isinstance(row, tuple)), end)
            else:
                yield from engine(start, end)
            start = end

    return parts
