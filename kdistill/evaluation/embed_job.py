"""A gallery's embeddings as a file: resumable, in shards, with unreadable images counted and named.

One shard writes three files into the output folder (without suffix when there is only one shard):

    embeddings-00000-of-00004.npy   float32 [n, D], to be opened with np.load(mmap_mode="r")
    ids-00000-of-00004.txt          n ids, one a line, in the order of the rows
    progress-00000-of-00004.json    what is done, the unreadable images and their reasons

Rows are appended; an unreadable image has none. After each stretch of images the rows are flushed to the disk first and
the progress record replaced after (atomically), so a job killed at any moment continues from the last record and never
counts a row that is not there. One process at a time works on a shard: it holds a lock on `progress-....lock`.
"""

import contextlib
import dataclasses
import fcntl
import functools
import json
import os
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from kdistill.data.images import ImageSet, UnreadableImage
from kdistill.errors import ArgumentError, KdistillError
from kdistill.evaluation.embedders import Embedder
from kdistill.evaluation.embedding import Batch, decoded_batches
from kdistill.progress import progress_bar

HEADER_BYTES = 128
STRETCH = 1024
"""Images between two records of progress, in round figures: work that a kill can cost."""


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


@dataclasses.dataclass(frozen=True)
class Part:
    """What became of a stretch of images.

    Attributes:
        rows: float32 [m, D], of the readable ones, in order ([0, 0] when there is none).
        skipped: (id, reason) of the others.
        stop: the position after the last of them.
    """

    rows: np.ndarray
    skipped: tuple[tuple[str, str], ...]
    stop: int


Parts = Callable[[int, int], Generator[Part, None, None]]
"""An engine: gives the parts of images [start, stop), in order and without a gap."""


def embed_to_folder(
    embedder: Embedder | Parts,
    images: ImageSet,
    folder: str | Path,
    *,
    fingerprint: str,
    batch_size: int = 32,
    shard: Shard | None = None,
    strict: bool = False,
    stretch: int = STRETCH,
) -> JobResult:
    """Embeds one shard, or continues with it; a finished shard is left as it is.

    Args:
        embedder: the model, which then runs in this process; or another engine.
        images: all images of all shards.
        folder: the output folder, created when missing.
        fingerprint: what identifies model and images; a folder begun with another fingerprint is refused.
        batch_size: images in one call of the model.
        shard: the part to do; None for everything.
        strict: raise on the first unreadable image (rows so far stay) instead of skipping it.
        stretch: images between two records of progress.

    Raises:
        KdistillError: the folder holds another job, another process is at work on this shard, the folder cannot be
            written, or no image can be read.
    """
    shard = shard or Shard()
    root = Path(folder)
    start, stop = shard.bounds(len(images))
    if start == stop:
        raise ArgumentError(f"shard {shard.index}/{shard.count} of {len(images)} images is empty")
    if isinstance(embedder, Embedder):
        engine: Parts = functools.partial(local_parts, embedder, images, batch_size)
    else:
        engine = embedder
    try:
        root.mkdir(parents=True, exist_ok=True)
        with _only_job(shard.path(root, "progress", ".lock")):
            record = _Record.open(shard.path(root, "progress", ".json"), fingerprint, start)
            resumed_at = record.next - start
            matrix = shard.path(root, "embeddings", ".npy")
            listing = shard.path(root, "ids", ".txt")
            if not record.done:
                partial = matrix.with_suffix(".npy.partial")
                _append(engine, partial, record, stop, strict, stretch)
                if not record.rows:
                    raise UnreadableImage(f"none of the {stop - start} images can be read: {record.skipped[0][1]}")
                skipped = {name for name, _ in record.skipped}
                ids = [image.id for image in images[start:stop] if image.id not in skipped]
                listing.write_text("".join(f"{name}\n" for name in ids), encoding="utf-8")
                _write_header(partial, record.rows, record.dim)
                os.replace(partial, matrix)
                record.done = True
                record.save()
    except OSError as error:
        raise KdistillError(f"the embeddings cannot be written to {str(root)!r}: {error.strerror or error}") from error
    return JobResult(matrix, listing, record.rows, tuple(record.skipped), resumed_at)


@contextlib.contextmanager
def _only_job(path: Path) -> Iterator[None]:
    """Holds the lock of a shard; the system lets go of it when the process ends, however it ends."""
    with open(path, "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise KdistillError(
                f"another job is writing the same shard in {str(path.parent)!r}: wait for it, name another folder, "
                "or share the work with --shard"
            ) from None
        yield


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
        record = _Record.read(path) if path.exists() else None
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
    _write_header(partial, rows, records[0].dim)
    listing = root / "ids.txt"
    texts = [shard.path(root, "ids", ".txt").read_text(encoding="utf-8") for shard in shards]
    listing.write_text("".join(texts), encoding="utf-8")
    os.replace(partial, matrix)
    skipped = tuple(item for record in records for item in record.skipped)
    return JobResult(matrix, listing, rows, skipped, rows)


@dataclasses.dataclass
class _Record:
    """The progress record: images before `next` are done, `rows` of them have a row."""

    path: Path
    fingerprint: str
    next: int
    rows: int = 0
    dim: int = 0
    skipped: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    done: bool = False

    @classmethod
    def open(cls, path: Path, fingerprint: str, start: int) -> "_Record":
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
    def read(cls, path: Path) -> "_Record":
        try:
            content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            skipped = [(str(name), str(reason)) for name, reason in content.pop("skipped")]
            return cls(path, skipped=skipped, **content)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise KdistillError(f"the progress record {path} is damaged: {error}") from error

    def save(self) -> None:
        content = {name: value for name, value in dataclasses.asdict(self).items() if name != "path"}
        fresh = self.path.with_suffix(".json.new")
        with open(fresh, "w", encoding="utf-8") as file:
            json.dump(content, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, self.path)


def _append(engine: Parts, partial: Path, record: _Record, stop: int, strict: bool, stretch: int) -> None:
    """Embeds images [record.next, stop) and appends their rows, recording progress as it goes."""
    partial.touch()
    with (
        open(partial, "r+b") as file,
        progress_bar(total=stop - record.next, description="embedding") as bar,
        contextlib.closing(engine(record.next, stop)) as parts,
    ):
        # Rows after the record are of a run that was killed before it recorded them. A new file gets room for the
        # header, which is written last.
        file.seek(file.truncate(HEADER_BYTES + record.rows * record.dim * 4))
        recorded = record.next

        def keep() -> None:
            nonlocal recorded
            file.flush()
            os.fsync(file.fileno())
            record.save()
            recorded = record.next

        for part in parts:
            if strict and part.skipped:
                keep()
                raise UnreadableImage(part.skipped[0][1])
            if len(part.rows):
                record.dim = part.rows.shape[1]
                file.write(part.rows.tobytes())
            if len(part.rows) + len(part.skipped) != part.stop - record.next:
                raise KdistillError(f"images {record.next} to {part.stop} came back as {len(part.rows)} rows")
            record.rows += len(part.rows)
            record.skipped += part.skipped
            bar.update(part.stop - record.next)
            bar.set_postfix(unreadable=len(record.skipped), refresh=False)
            record.next = part.stop
            if record.next - recorded >= stretch or record.next == stop:
                keep()


def local_parts(
    embedder: Embedder, images: ImageSet, batch_size: int, start: int, stop: int
) -> Generator[Part, None, None]:
    """Embeds images [start, stop) in this process; yields one part a batch.

    Args:
        embedder: the model.
        images: the set.
        batch_size: images of a batch, readable or not.
        start, stop: positions.

    Raises:
        KdistillError: an embedding that is not finite.
    """
    with ThreadPoolExecutor(embedder.callers) as pool:
        running: deque[tuple[Batch, Future[np.ndarray]]] = deque()

        def finish_first() -> Part:
            batch, future = running.popleft()
            return Part(np.ascontiguousarray(future.result(), np.float32), batch.skipped, batch.stop)

        for batch in decoded_batches(images, embedder.image_size, batch_size, start=start, stop=stop):
            running.append((batch, pool.submit(_embed, embedder, batch)))
            # One batch more than callers, so that none of them waits for this thread.
            if len(running) > embedder.callers:
                yield finish_first()
        while running:
            yield finish_first()


def _embed(embedder: Embedder, batch: Batch) -> np.ndarray:
    if not len(batch.indices):
        return np.empty((0, 0), np.float32)
    rows = np.asarray(embedder.embed(batch.pixels), np.float32)
    if not np.isfinite(rows).all():
        raise KdistillError(f"the model gives embeddings that are not finite near image number {batch.indices[0]}")
    return rows


def _write_header(path: Path, rows: int, dim: int) -> None:
    """Writes the .npy header (format 1.0) into the first HEADER_BYTES of the file."""
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {dim}), }}"
    magic = b"\x93NUMPY\x01\x00" + (HEADER_BYTES - 10).to_bytes(2, "little")
    with open(path, "r+b") as file:
        file.write(magic + text.ljust(HEADER_BYTES - 11).encode("ascii") + b"\n")
        file.flush()
        os.fsync(file.fileno())
