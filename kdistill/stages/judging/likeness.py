"""Whether the questions were about images like those that are searched."""

from typing import Any

import keras
import numpy as np

from kdistill import students
from kdistill.data import RetrievalData
from kdistill.evaluation import embed_images
from kdistill.evaluation.neighbours import nearest_neighbours

LOOKED_AT = 300
"""Images of the pool, and of the gallery, that are compared."""

UNLIKE = 0.5
"""Where so large a share of the gallery lies farther from the pool than nearly all images of the pool from each other,
the two are said to differ."""

_FAR = 5.0


def likeness(
    untouched: keras.Model, data: RetrievalData, gallery: np.ndarray, seed: int, strict: bool
) -> dict[str, Any] | None:
    """Compares gallery and pool by the features of the student before distillation; None for a pool of hardly any.

    For each image of a sample of the gallery the cosine to the nearest of a sample of the pool is taken, and for each
    image of that sample of the pool the cosine to the nearest other one. The share of the gallery whose cosine is below
    the 5th percentile of the pool's own (5 % if they are alike) says how unlike they are. Our own rule.

    Args:
        untouched: gives the features.
        data: of the run; all images of the gallery are readable.
        gallery: float32 [G, C], the features of the gallery.
        seed: of the samples.
        strict: raise at the first unreadable image of the pool.

    Returns:
        `unlike`: the share; `nearest`: median cosine of the gallery to its nearest of the pool; `nearest_in_pool`:
        that inside the pool; `differ`: whether the share is above UNLIKE.
    """
    if len(data.pool) < 3:
        return None
    random = np.random.default_rng([seed, len(data.pool)])
    chosen = np.sort(random.permutation(len(data.pool))[:LOOKED_AT])
    pool = embed_images(
        untouched,
        data.pool.subset(chosen),
        image_size=students.image_size(untouched),
        strict=strict,
        description="comparing pool and gallery",
    ).embeddings
    if len(pool) < 3:
        return None
    looked_at = gallery[np.sort(random.permutation(len(gallery))[:LOOKED_AT])]
    outside, _ = nearest_neighbours(looked_at, pool, 1)
    inside, _ = nearest_neighbours(pool, pool, 1, exclude=np.arange(len(pool)))
    unlike = float((outside < np.percentile(inside, _FAR)).mean())
    return {
        "unlike": unlike,
        "nearest": float(np.median(outside)),
        "nearest_in_pool": float(np.median(inside)),
        "differ": unlike > UNLIKE,
    }


def described_likeness(found: dict[str, Any]) -> str:
    """Returns the comparison in a sentence."""
    if not found["differ"]:
        return f"alike: {1 - found['unlike']:.0%} of the gallery is as near to the pool as its images to each other"
    return (
        f"pool and gallery look different: {found['unlike']:.0%} of the gallery is farther from the pool than the "
        f"pool's own images from each other (median cosine to the nearest {found['nearest']:.2f} against "
        f"{found['nearest_in_pool']:.2f}); ask about the images that will be searched"
    )
