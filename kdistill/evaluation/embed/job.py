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
import fcntl
import functools
import os
from collections.abc import Iterator
from pathlib import Path

from kdistill.console.progress import progress_bar
from kdistill.data.images import ImageSet, UnreadableImage
from kdistill.errors import ArgumentError, KdistillError
from kdistill.evaluation.embed.parts import Parts, local_parts
from kdistill.evaluation.embed.shards import HEADER_BYTES, JobResult, ProgressRecord, Shard, write_header
from kdistill.runtimes.embedders import Embedder

STRETCH = 1024
"""Images between two records of progress, in round figures: work that a kill can cost."""


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
            record = ProgressRecord.open(shard.path(root, "progress", ".json"), fingerprint, start)
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
                listing.write_text("".join(f"{name}\n" for name in ids), encoding="utf-8", errors="surrogateescape")
                write_header(partial, record.rows, record.dim)
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


def _append(engine: Parts, partial: Path, record: ProgressRecord, stop: int, strict: bool, stretch: int) -> None:
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
