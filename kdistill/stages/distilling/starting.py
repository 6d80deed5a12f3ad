"""The student before its training: which photos are looked at first, and what its last layer starts from."""

from collections.abc import Iterable

import keras
import numpy as np

from kdistill.data import ImageSet
from kdistill.data.disk.photos import LOOKED_AT, Photos, rows_looked_at
from kdistill.data.pipeline import changed_views
from kdistill.hashing.fitting import VIEWS, fit_hash_head
from kdistill.settings import Settings
from kdistill.settings.effects import learns_orders, starts_trained
from kdistill.stages.backbone import trusted_packages
from kdistill.stages.distilling.shrinking import shrinks
from kdistill.stages.opening.models import SOURCE_MARGIN, start_at_targets, start_student
from kdistill.stages.opening.photos import open_photos, reading
from kdistill.stages.workdir import Workdir

MOST_FITTED = 8192
"""Images of the pool that a hash head is fitted to, at most; they stand in memory."""

_FEW_DIRECTIONS = 256
"""Dimensions of a student up to which its principal directions take half as many photos of a large pool."""


def all_looked_at(settings: Settings, photos: Photos) -> bool:
    """Says whether all photos are decoded before the first step: a small pool, or lists, where none can stand in."""
    return len(photos) <= LOOKED_AT or learns_orders(settings)


def first_look(
    settings: Settings, photos: Photos, targets: np.ndarray | None = None
) -> tuple[keras.Model, np.ndarray, np.ndarray]:
    """Returns the student before its training, and the rows of the photos that were looked at and could be read.

    What follows them are these photos at the student's own size, uint8 [m, S, S, 3], where it is to shrink.

    Args:
        settings: of the run.
        photos: what it learns from.
        targets: float [n, Ds], vectors of the photos in the student's own space, where it is the teacher's: behind
            pretrained features its projection then starts as the ridge map to them.
    """
    student, side = settings.student, settings.student.image_size
    # A projection starts from photos at the student's own size, the way it will be searched with.
    starts_from_photos, seed = starts_trained(settings), settings.run.small_seed
    needed, trusted = starts_from_photos or shrinks(settings), trusted_packages(settings)
    to_targets = targets is not None and starts_from_photos and not str(student.student_weights).endswith(".keras")
    if all_looked_at(settings, photos):
        rows = np.arange(len(photos))
    else:
        # A few directions are the same from half as many, six seconds sooner; ridge maps and shrinking gain by each.
        few = not to_targets and not shrinks(settings) and student.embedding_dim <= _FEW_DIRECTIONS
        rows = rows_looked_at(len(photos), LOOKED_AT // 2 if few else LOOKED_AT)
    if not needed and len(rows) < len(photos):
        return start_student(student, seed, trusted=trusted), np.empty(0, np.int64), np.empty(0, np.uint8)
    look = photos.look(rows, side if needed else photos.size, "reading the pool")
    blocks: Iterable[np.ndarray] = look.blocks()
    if shrinks(settings):
        blocks = list(blocks)
    network = start_student(student, seed, blocks if starts_from_photos and not to_targets else None, trusted=trusted)
    if to_targets and targets is not None:
        start_at_targets(network, blocks, lambda: targets[look.rows])
    for _ in blocks:  # what the start did not take
        pass
    return network, look.rows, np.concatenate(blocks) if isinstance(blocks, list) else np.empty(0, np.uint8)


def fit_codes(settings: Settings, workdir: Workdir, student: keras.Model, pool: ImageSet) -> None:
    """Fits the hash head to images of the pool, asked about or not."""
    side, seed = settings.student.image_size, settings.run.seed
    chosen = np.random.default_rng(seed).permutation(len(pool))[:MOST_FITTED]
    pool = pool.subset(np.sort(chosen).tolist())
    size = round(side * SOURCE_MARGIN) if settings.training.augment else side
    # Not kept in the work folder, where those of the training are written at this time.
    photos = open_photos(settings, workdir, pool, size, used=len(pool), keep=False)
    with reading(photos):
        look = photos.look(np.arange(len(pool)), side, "reading the whole pool")
        plain = np.concatenate(list(look.blocks()))
        views: Iterable[np.ndarray] = [plain]
        if settings.training.augment:
            views = changed_views(photos.subset(look.rows), side, VIEWS, seed=seed)
        fit_hash_head(student, plain, views, seed=seed)
