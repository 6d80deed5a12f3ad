"""Features of the pool, by which questions are chosen and proposed, and from which an assistant's head learns."""

from pathlib import Path
from typing import Literal

import numpy as np
from absl import logging

from kdistill import students
from kdistill.data import ImageSet
from kdistill.data.identity import identities
from kdistill.evaluation import embed_images
from kdistill.files import made_from
from kdistill.files.archives import load_arrays
from kdistill.files.whole import write_arrays
from kdistill.settings import Settings
from kdistill.stages.inputs import content_of, identity_cache
from kdistill.stages.models import assistant_network, start_student
from kdistill.stages.workdir import Workdir
from kdistill.version import __version__

FEATURE_FILES = {"assistant": "assistant_features.npz", "student": "features.npz"}
"""Whose features -> the file of the work folder that keeps them."""

_FEATURES_OF = {
    "assistant": ("assistant_backbone", "assistant_alpha", "assistant_image_size", "assistant_weights", "seed"),
    "student": ("backbone", "alpha", "image_size", "pooling", "student_weights", "seed"),
}


def pool_features(
    settings: Settings, workdir: Workdir, pool: ImageSet, of: Literal["assistant", "student"]
) -> tuple[np.ndarray, np.ndarray]:
    """Returns positions int64 [n] of the readable images and their features float32 [n, C], L2-normalised.

    They are those of the assistant or of the student before distillation; a file of the work folder keeps them.
    """
    if of == "assistant":
        sources = [settings.assistant.assistant_weights, settings.assistant.assistant_backbone]
    else:
        sources = [settings.student.student_weights]
    files = [Path(source) for source in sources if source and source.endswith((".h5", ".keras"))]
    identity = {
        "settings": {name: settings.value(name) for name in _FEATURES_OF[of]},
        "weights": [content_of(file) for file in files],
        "pool": identities(pool, None if settings.asking.dry_run else identity_cache(workdir.path)),
        "version": __version__,
    }
    file = workdir.path / FEATURE_FILES[of]
    difference = made_from.matches(file, identity)
    if difference is None:
        positions = {name: position for position, name in enumerate(pool.ids)}
        ids, features = load_arrays(file, ("ids", "features"))
        return np.array([positions[name] for name in ids.tolist()]), features
    if file.exists():
        logging.info("the features of the pool are made anew: %s", difference)
    if of == "assistant":
        network = assistant_network(settings, None)
    else:
        network = students.pooled_features(start_student(settings.student, settings.run.small_seed))
    embedded = embed_images(
        network,
        pool,
        image_size=students.image_size(network),
        strict=settings.run.strict,
        description="looking at the pool",
    )
    if not settings.asking.dry_run:
        write_arrays(file, ids=np.array(pool.ids)[embedded.indices], features=embedded.embeddings)
        made_from.write(file, identity)
    return embedded.indices, embedded.embeddings
