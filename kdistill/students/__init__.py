"""Students: a backbone, a pooling, a projection, an L2-normalised embedding, as one plain Functional model."""

from kdistill.facts.students import BACKBONES, POOLINGS
from kdistill.students.building import build, pooled_features
from kdistill.students.rebuilding import (
    at_batch,
    at_size,
    embedding_dim,
    freeze_batch_norm,
    image_size,
    in_float32,
    in_precision,
)
from kdistill.students.weights import initialise_projection

__all__ = [
    "BACKBONES",
    "POOLINGS",
    "at_batch",
    "at_size",
    "build",
    "embedding_dim",
    "freeze_batch_norm",
    "image_size",
    "in_float32",
    "in_precision",
    "initialise_projection",
    "pooled_features",
]
