"""Embedding on a Ray cluster: the same rows as in one process, bit for bit.

Stretches of the images begin where one process would begin a batch, so each batch holds the same images. ONNX and
TFLite files give the same bits on any number of threads; a Keras model gets as many threads as it has here. (Another
kind of processor may still round differently.)
"""

import dataclasses
import os
from collections.abc import Callable, Generator, Sequence
from pathlib import Path

import numpy as np

from kdistill.cluster.ray_engine import map_on_actors
from kdistill.data.images import Image, ImageSet
from kdistill.evaluation.embed.parts import Part, Parts, local_parts
from kdistill.runtimes.embedders import Embedder, open_embedder

BATCHES = 8
"""Batches that an actor is given at a time: what its death makes to be done again."""


@dataclasses.dataclass(frozen=True)
class OpenFile:
    """Opens a model's file in an actor, whose one core then runs it.

    Attributes:
        path: the file, under the same name on all machines.
        keras_threads: threads that TensorFlow may use within one operation; its results depend on it.
        trusted: packages besides Keras whose classes a `.keras` file may be made of.
    """

    path: Path
    keras_threads: int
    trusted: tuple[str, ...] = ()

    @classmethod
    def as_here(cls, path: str | Path, trusted: Sequence[str] = ()) -> "OpenFile":
        """Returns one that gives TensorFlow as many threads as it has in this process."""
        threads = int(os.environ.get("TF_NUM_INTRAOP_THREADS", "0")) or os.cpu_count() or 1
        return cls(Path(path), threads, tuple(trusted))

    def __call__(self) -> Embedder:
        """Returns the model, ready to run."""
        os.environ["TF_NUM_INTRAOP_THREADS"] = str(self.keras_threads)
        return open_embedder(self.path, threads=1, trusted=self.trusted)


def ray_parts(open_model: Callable[[], Embedder], images: ImageSet, batch_size: int, *, actors: int = 0) -> Parts:
    """Returns the engine that embeds on a cluster (see `embed_job.embed_to_folder`).

    Args:
        open_model: makes an actor's model, once; it must pickle.
        images: the set; its files must be there under the same names on all machines.
        batch_size: images of a batch, readable or not.
        actors: how many; 0 for one a core of the cluster.
    """

    def parts(start: int, stop: int) -> Generator[Part, None, None]:
        step = BATCHES * batch_size
        stretches = [
            _Stretch(first, images.images[first : min(first + step, stop)]) for first in range(start, stop, step)
        ]
        yield from map_on_actors(_MakeWorker(open_model, batch_size), stretches, actors=actors)

    return parts


@dataclasses.dataclass(frozen=True)
class _Stretch:
    start: int
    images: tuple[Image, ...]


@dataclasses.dataclass(frozen=True)
class _MakeWorker:
    open_model: Callable[[], Embedder]
    batch_size: int

    def __call__(self) -> "_EmbedStretch":
        return _EmbedStretch(self.open_model(), self.batch_size)


@dataclasses.dataclass(frozen=True)
class _EmbedStretch:
    embedder: Embedder
    batch_size: int

    def __call__(self, stretch: _Stretch) -> Part:
        images = ImageSet(stretch.images)
        parts = list(local_parts(self.embedder, images, self.batch_size, 0, len(images)))
        rows = [part.rows for part in parts if len(part.rows)]
        skipped = tuple(item for part in parts for item in part.skipped)
        merged = np.concatenate(rows) if rows else np.empty((0, 0), np.float32)
        return Part(merged, skipped, stretch.start + len(images))
