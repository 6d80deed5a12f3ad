"""The shards of an embedding job on the disk: their files, their records of progress, and how they become one file."""

import dataclasses
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kdistill.errors import ArgumentError, KdistillError
from kdistill.files.whole import whole_file, write_whole

HEADER_BYTES = 128


@dataclasses.dataclass(frozen=True)
class Shard:
    """Which part of the images a job embeds: the `index`-th of `count` contiguous parts."""

    index: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        """Raises ArgumentError unless 0 <= index < count."""
        if self.count < 1:
            raise ArgumentError(f"shard {self.index}/{self.count} is one of no shards; there is at least 1")
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
class ShardFiles:
    """The files of a shard in the output folder.

    Attributes:
        matrix: `embeddings-....npy`, once the shard is finished.
        ids: `ids-....txt`.
        record: `progress-....json`, what is done.
        images: `images-....json`, the images that the record speaks of.
        previous: `previous-....json`, the images of a finished `matrix` while a new one is made.
        lock: `progress-....lock`.
    """

    matrix: Path
    ids: Path
    record: Path
    images: Path
    previous: Path
    lock: Path

    @classmethod
    def of(cls, shard: Shard, folder: Path) -> "ShardFiles":
        """Returns those of a shard in a folder."""
        names = {"matrix": ("embeddings", ".npy"), "ids": ("ids", ".txt"), "lock": ("progress", ".lock")}
        names |= {"record": ("progress", ".json"), "images": ("images", ".json"), "previous": ("previous", ".json")}
        return cls(**{field: shard.path(folder, *name) for field, name in names.items()})

    @property
    def partial(self) -> Path:
        """The rows of an unfinished matrix."""
        return self.matrix.with_suffix(".npy.partial")


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
        fingerprint: what identifies the model.
        next: position of the first image that is not done.
        rows: how many embeddings the shard's file holds.
        dim: D; 0 before the first of them.
        skipped: (id, reason) of each unreadable image.
        done: whether the shard is finished.
        start: position of the shard's first image.
        names: hash of the names of all images of all shards.
    """

    path: Path
    fingerprint: str
    next: int
    rows: int = 0
    dim: int = 0
    skipped: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    done: bool = False
    start: int = 0
    names: str = ""

    @classmethod
    def open(cls, path: Path, fingerprint: str, start: int) -> "ProgressRecord":
        """Returns the record in the file, or a fresh one that begins at `start` where there is no file.

        Raises:
            KdistillError: the file is damaged, or of another model.
        """
        if not path.exists():
            return cls(path, fingerprint, start, start=start)
        record = cls.read(path)
        if record.fingerprint != fingerprint:
            raise KdistillError(
                f"{path} was begun with another model; use another folder, or delete this one to start anew"
            )
        return record

    @classmethod
    def read(cls, path: Path) -> "ProgressRecord":
        """Returns the record in the file; raises KdistillError where it is damaged."""
        try:
            content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            skipped = [(str(name), str(reason)) for name, reason in content.pop("skipped")]
            record = cls(path, skipped=skipped, **content)
            numbers = (record.next, record.rows, record.dim, record.start)
            if not all(type(number) is int and number >= 0 for number in numbers):
                raise ValueError("a position is no whole number")
            if type(record.done) is not bool or not all(
                type(text) is str for text in (record.fingerprint, record.names)
            ):
                raise ValueError("an entry is of another kind")
            return record
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise KdistillError(f"the progress record {path} is damaged: {error}") from error

    def keep_first(self, ids: Sequence[str], count: int) -> None:
        """Takes back all but the first `count` images, which are those at the start of `ids`."""
        kept = set(ids[:count])
        self.skipped = [entry for entry in self.skipped if entry[0] in kept]
        self.rows = count - len(self.skipped)
        self.next, self.done = self.start + count, False

    def move(self, names: str, start: int) -> None:
        """Notes which images there are in all, and the position among them at which the shard starts now."""
        self.names, self.next, self.start = names, start + self.next - self.start, start

    def save(self) -> None:
        """Replaces the file, atomically."""
        content = {name: value for name, value in dataclasses.asdict(self).items() if name != "path"}
        write_whole(self.path, json.dumps(content))


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
    if len({(record.fingerprint, record.names, record.dim) for record in records}) > 1:
        raise KdistillError(f"the shards in {str(root)!r} were made by different models or from different images")
    rows = sum(record.rows for record in records)
    matrix, listing = root / "embeddings.npy", root / "ids.txt"
    texts = [_listing(shard, root, record.rows) for shard, record in zip(shards, records, strict=True)]
    parts = [_rows(shard, root, record) for shard, record in zip(shards, records, strict=True)]
    with whole_file(matrix) as partial:
        with open(partial, "wb") as file:
            file.write(b"\0" * HEADER_BYTES)
            for part in parts:
                for first in range(0, len(part), 8192):
                    file.write(part[first : first + 8192].tobytes())
        write_header(partial, rows, records[0].dim)
        write_whole(listing, b"".join(texts))
    skipped = tuple(item for record in records for item in record.skipped)
    return JobResult(matrix, listing, rows, skipped, rows)


def _listing(shard: Shard, root: Path, rows: int) -> bytes:
    file = shard.path(root, "ids", ".txt")
    try:
        text = file.read_bytes()
    except OSError as error:
        raise KdistillError(f"{file} cannot be read: {error.strerror or error}") from error
    if text.count(b"\n") != rows:
        raise KdistillError(f"{file} is damaged: it has {text.count(bytes([10]))} lines for {rows} embeddings")
    return text


def _rows(shard: Shard, root: Path, record: ProgressRecord) -> np.ndarray:
    """Returns a finished shard's embeddings, float32 [n, D], memory-mapped."""
    file = shard.path(root, "embeddings", ".npy")
    try:
        part = np.load(file, mmap_mode="r", allow_pickle=False)
    # numpy raises many kinds of errors on damaged files; each means the same to the user.
    except Exception as error:
        raise KdistillError(f"{file} cannot be read: {error or type(error).__name__}") from error
    if part.shape != (record.rows, record.dim) or part.dtype != np.float32:
        raise KdistillError(
            f"{file} is damaged: it holds {part.dtype} {list(part.shape)}, not float32 {[record.rows, record.dim]}"
        )
    return part


def write_header(path: Path, rows: int, dim: int) -> None:
    """Writes the .npy header (format 1.0) into the first HEADER_BYTES of the file."""
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {dim}), }}"
    magic = b"\x93NUMPY\x01\x00" + (HEADER_BYTES - 10).to_bytes(2, "little")
    with open(path, "r+b") as file:
        file.write(magic + text.ljust(HEADER_BYTES - 11).encode("ascii") + b"\n")
        file.flush()
        os.fsync(file.fileno())
