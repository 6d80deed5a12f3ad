"""Features of the pool, by which candidates are proposed to a teacher that compares, and from which a ranker learns."""

from pathlib import Path

import keras
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
from kdistill.stages.models import start_student
from kdistill.stages.workdir import Workdir
from kdistill.version import __version__

_FEATURES_OF = ("ranker_backbone", "ranker_alpha", "ranker_image_size", "ranker_weights")
_STUDENT_FEATURES_OF = ("backbone", "alpha", "image_size", "pooling", "student_weights", "seed")


def pool_features(settings: Settings, workdir: Workdir, pool: ImageSet) -> tuple[np.ndarray, np.ndarray]:
    """Returns positions int64 [n] of the readable images and their features float32 [n, C], L2-normalised.

    They are the ranker's, or without one the student's before distillation; `features.npz` keeps them.
    """
    names = _FEATURES_OF if settings.comparing.ranker_backbone else _STUDENT_FEATURES_OF
    weights = (
        settings.comparing.ranker_weights if settings.comparing.ranker_backbone else settings.student.student_weights
    )
    identity = {
        "settings": {name: settings.value(name) for name in names},
        "weights": content_of(Path(weights)) if weights and weights != "imagenet" else "",
        "pool": identities(pool, None if settings.asking.dry_run else identity_cache(workdir.path)),
        "version": __version__,
    }
    file = workdir.path / "features.npz"
    difference = made_from.matches(file, identity)
    if difference is None:
        positions = {name: position for position, name in enumerate(pool.ids)}
        ids, features = load_arrays(file, ("ids", "features"))
        return np.array([positions[name] for name in ids.tolist()]), features
    if file.exists():
        logging.info("the features of the pool are made anew: %s", difference)
    network = _network(settings)
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


def _network(settings: Settings) -> keras.Model:
    if settings.comparing.ranker_backbone is None:
        return students.pooled_features(start_student(settings.student, settings.run.small_seed))
    keras.utils.set_random_seed(settings.run.small_seed)
    return students.build(
        settings.comparing.ranker_backbone,
        alpha=settings.comparing.ranker_alpha,
        image_size=settings.comparing.ranker_image_size,
        embedding_dim=None,
        weights=settings.comparing.ranker_weights,
    )
