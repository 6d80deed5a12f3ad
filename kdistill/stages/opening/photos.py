"""The photos that a training of a run learns from: decoded once, in memory or in the work folder."""

import contextlib
from collections.abc import Iterator

import tensorflow as tf
from absl import logging

from kdistill.data import ImageSet
from kdistill.data.disk.photos import Photos, key_of
from kdistill.data.disk.stores import DiskStore, MemoryStore, Store
from kdistill.data.identity import identities
from kdistill.settings import Settings
from kdistill.stages.opening.inputs import identity_cache
from kdistill.stages.workdir import Workdir


def open_photos(
    settings: Settings, workdir: Workdir, images: ImageSet, size: int, *, used: int, keep: bool = True
) -> Photos:
    """Returns images of which none is decoded yet.

    What is decoded stays in memory where all of it takes no more than --max_memory_mb, else in the work folder within
    --cache_gb; what has no room there is decoded again each time. Which of these it is changes no pixel.

    Args:
        settings: of the run.
        workdir: of the run.
        images: to learn from.
        size: side of the square that each is resized to.
        used: how many photos a training shows in all.
        keep: whether this process may keep photos in the work folder: one at a time may.

    Raises:
        KdistillError: the work folder cannot be written.
    """
    digests = list(identities(images, identity_cache(workdir.path)).values())
    keys = {key for digest in digests if (key := key_of(digest)) is not None}
    row, memory, cache = 3 * size * size, settings.evaluation.max_memory_mb * 2**20, settings.run.cache_gb
    store: Store = MemoryStore(min(len(keys), memory // row), size)
    if len(keys) * row > memory and keep and cache:
        made = {"max_megapixels": settings.data.max_megapixels}
        wanted = min(len(keys), used)
        store = DiskStore(workdir.photos, size, limit=int(cache * 1e9), keys=keys, wanted=wanted, made=made)
    elif len(keys) * row > memory:
        logging.info("%d of %d photos have room in memory; the others are decoded each time", memory // row, len(keys))
    return Photos(images, size, store, digests, strict=settings.run.strict)


@contextlib.contextmanager
def reading(photos: Photos) -> Iterator[None]:
    """Around what reads photos in TensorFlow's threads: tells in our words what ended it, and keeps what was decoded.

    Raises:
        UnreadableImage: under --strict, or when no photo can be read.
    """
    try:
        yield
    except tf.errors.OpError as error:
        if photos.failure is None:
            raise
        raise photos.failure from error
    finally:
        photos.store.finish()
