"""The engine of an embedding job that runs in this process, and what every engine gives: parts of a set of images."""

import dataclasses
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from kdistill.data.images import ImageSet
from kdistill.errors import KdistillError
from kdistill.evaluation.embedding import Batch, decoded_batches
from kdistill.runtimes.embedders import Embedder


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
