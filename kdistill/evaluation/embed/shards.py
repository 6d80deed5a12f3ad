"""The shards of an embedding job on the disk: their files, their records of progress, and how they become one file."""

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from kdistill.errors import ArgumentError, KdistillError

_NAMES: dict[str, Any] = {"encoding": "utf-8", "errors": "surrogateescape"}
"""Names of files need not be UTF-8; their bytes are kept."""
HEADER_BYTES = 128


@dataclasses.dataclass(frozen=True)
class Shard:
    """Which part of the images a job embeds: the `index`-th of `count` contiguous parts."""

    index: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        """Raises ArgumentError unless 0 <= index < count."""
        if not 0 <= self.index < self.count:
            raise ArgumentError(f"shard {self.index}/{self.count} does not exist; they go from 0 to {self.count - 1}")

    def bounds(self, images: int) -> tuple[int, int]:
        """Returns the positions [start, stop) of the shard."""
        return images * self.index // self.count, images * (self.index + 1) // self.count

    def path(self, folder: Path, name: str, suffix: str) -> Path:
        """Returns the shard's file of that name."""
        part = "" if self.count == 1 else f"-{self.index:05d}-of-{self.count:05d}"
        return folder / f"{name}{part}{suffix}"


@dataclasses.dataclass(frozen=True)
class JobResult:
    """A finished shard.

    Attributes:
        embeddings: the .npy file.
        ids: the list of ids.
        rows: n.
        skipped: (id, reason) of each unreadable image.
        resumed_at: images that an earlier run had done.
    """

    embeddings: Path
    ids: Path
    rows: int
    skipped: tuple[tuple[str, str], ...]
    resumed_at: int


@dataclasses.dataclass
class ProgressRecord:
    """What is done of a shard: images before `next`, of which `rows` have a row.

    Attributes:
        path: the record's file.
        fingerprint: what identifies model and images.
        next: position of the first image that is not done.
        rows: how many embeddings the shard's file holds.
        dim: D; 0 before the first of them.
        skipped: (id, reason) of each unreadable image.
        done: whether the shard is finished.
    """

    path: Path
    fingerprint: str
    next: int
    rows: int = 0
    dim: int = 0
    skipped: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    done: bool = False

    @classmethod
    def open(cls, path: Path, fingerprint: str, start: int) -> "ProgressRecord":
        """Returns the record in the file, or a fresh one that begins at `start` where there is no file.

        Raises:
            KdistillError: the file is damaged, or of another model or other images.
        """
        if not path.exists():
            return cls(path, fingerprint, start)
        record = cls.read(path)
        if record.fingerprint != fingerprint:
            raise KdistillError(
                f"{path} was begun with another model, other images or another size; "
                "use another folder, or delete this one to start anew"
            )
        return record

    @classmethod
    def read(cls, path: Path) -> "ProgressRecord":
        """Returns the record in the file; raises KdistillError where it is damaged."""
        try:
            content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            skipped = [(str(name), str(reason)) for name, reason in content.pop("skipped")]
            return cls(path, skipped=skipped, **content)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise KdistillError(f"the progress record {path} is damaged: {error}") from error

    def save(self) -> None:
        """Replaces the file, atomically."""
        content = {name: value for name, value in dataclasses.asdict(self).items() if name != "path"}
        fresh = self.path.with_suffix(".json.new")
        with open(fresh, "w", encoding="utf-8") as file:
            json.dump(content, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, self.path)


def merge_shards(folder: str | Path, count: int) -> JobResult:
    """Writes `embeddings.npy` and `ids.txt` from all shards of a folder, in order; the shards stay.

    Raises:
        KdistillError: a shard is missing or not finished, or they come from different jobs.
    """
    root = Path(folder)
    shards = [Shard(index, count) for index in range(count)]
    records = []
    for shard in shards:
        path = shard.path(root, "progress", ".json")
        record = ProgressRecord.read(path) if path.exists() else None
        if record is None or not record.done:
            raise KdistillError(f"shard {shard.index}/{count} in {str(root)!r} is not finished")
        records.append(record)
    if len({(record.fingerprint, record.dim) for record in records}) > 1:
        raise KdistillError(f"the shards in {str(root)!r} were made by different models or from different images")
    rows = sum(record.rows for record in records)
    partial, matrix = root / "embeddings.npy.partial", root / "embeddings.npy"
    with open(partial, "wb") as file:
        file.write(b"\0" * HEADER_BYTES)
        for shard in shards:
            part = np.load(shard.path(root, "embeddings", ".npy"), mmap_mode="r")
            for first in range(0, len(part), 8192):
                file.write(part[first : first + 8192].tobytes())
    write_header(partial, rows, records[0].dim)
    listing = root / "ids.txt"
    texts = [shard.path(root, "ids", ".txt").read_text(**_NAMES) for shard in shards]
    listing.write_text("".join(texts), **_NAMES)
    os.replace(partial, matrix)
    skipped = tuple(item for record in records for item in record.skipped)
    return JobResult(matrix, listing, rows, skipped, rows)


def write_header(path: Path, rows: int, dim: int) -> None:
    """Writes the .npy header (format 1.0) into the first HEADER_BYTES of the file."""
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {dim}), }}"
    magic = b"\x93NUMPY\x01\x00" + (HEADER_BYTES - 10).to_bytes(2, "little")
    with open(path, "r+b") as file:
        file.write(magic + text.ljust(HEADER_BYTES - 11).encode("ascii") + b"\n")
        file.flush()
        os.fsync(file.fileno())
