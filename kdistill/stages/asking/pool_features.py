"""Features of the pool, by which questions are chosen and proposed, and from which an assistant's head learns."""

from pathlib import Path
from typing import Literal

import numpy as np
from absl import logging

from kdistill import students
from kdistill.data import ImageSet
from kdistill.data.identity import digest_of, identities
from kdistill.evaluation import embed_images
from kdistill.files import made_from
from kdistill.files.archives import map_arrays
from kdistill.settings import Settings
from kdistill.settings.effects import without_effect
from kdistill.stages.backbone import backbone_digest
from kdistill.stages.opening.embedding import write_embeddings
from kdistill.stages.opening.inputs import content_of, identity_cache
from kdistill.stages.opening.models import assistant_network, student_before
from kdistill.stages.workdir import Workdir
from kdistill.version import __version__

FEATURE_FILES = {"assistant": "assistant_features.npz", "student": "features.npz"}
"""Whose features -> the file of the work folder that keeps them."""

_FEATURES_OF = {
    "assistant": (
        *("assistant_backbone", "assistant_backbone_scaling", "assistant_alpha", "assistant_image_size"),
        *("assistant_weights", "seed"),
    ),
    "student": ("backbone", "backbone_scaling", "alpha", "image_size", "pooling", "student_weights", "seed"),
}


def pool_features(
    settings: Settings, workdir: Workdir, pool: ImageSet, of: Literal["assistant", "student"]
) -> tuple[np.ndarray, np.ndarray]:
    """Returns positions int64 [n] of the readable images and their features float32 [n, C], L2-normalised.

    They are those of the assistant or of the student before distillation, memory-mapped from a file of the work folder.
    """
    if of == "assistant":
        weights, backbone = settings.assistant.assistant_weights, settings.assistant.assistant_backbone or ""
    else:
        weights, backbone = settings.student.student_weights, settings.student.backbone
    files = [Path(weights)] if weights and weights.endswith((".h5", ".keras")) else []
    names, idle = _FEATURES_OF[of], without_effect(settings)
    identity = {
        "settings": {name: settings.value(name) for name in names if not name.endswith("scaling") or name not in idle},
        "weights": [*map(content_of, files), *filter(None, [backbone_digest(backbone)])],
        "pool": digest_of(identities(pool, None if settings.asking.dry_run else identity_cache(workdir.path))),
        "version": __version__,
    }
    file = workdir.path / FEATURE_FILES[of]
    difference = made_from.matches(file, identity)
    if difference is None:
        return _kept(file, pool)
    if file.exists():
        logging.info("the features of the pool are made anew: %s", difference)
    if of == "assistant":
        network = assistant_network(settings, None)
    else:
        network = students.pooled_features(student_before(settings))
    if settings.asking.dry_run:
        embedded = embed_images(
            network,
            pool,
            image_size=students.image_size(network),
            strict=settings.run.strict,
            description="looking at the pool",
        )
        return embedded.indices, embedded.embeddings
    logging.info("looking at the pool")
    write_embeddings(settings, file, network, pool, name="features", identity=identity)
    made_from.write(file, identity)
    return _kept(file, pool)


def _kept(file: Path, pool: ImageSet) -> tuple[np.ndarray, np.ndarray]:
    """Returns positions and features, memory-mapped."""
    positions = {name: position for position, name in enumerate(pool.ids)}
    ids, features = map_arrays(file, ("ids", "features"))
    return np.array([positions[name] for name in ids.tolist()]), features
