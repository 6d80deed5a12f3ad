"""The assistant's network: a backbone that a student could have, under a projection."""

from collections.abc import Sequence

import keras
import numpy as np

from kdistill import students


def build_assistant(
    network: str,
    *,
    alpha: float = 1.0,
    image_size: int = 192,
    weights: str | None = None,
    embedding_dim: int | None = 128,
    scaling: str = "auto",
    trusted: Sequence[str] = (),
) -> keras.Model:
    """Builds an assistant: uint8 [B, S, S, 3] RGB -> float32 [B, Da] of unit length.

    Args:
        network: a backbone of `students.build`: known by its name, or brought, such as a `.keras` file from images to
            pooled features [B, C].
        alpha: width multiplier of a backbone that has several.
        image_size: S in pixels; a file is rebuilt for it.
        weights: of a backbone known by its name, as `students.build` takes them.
        embedding_dim: Da; None leaves out the projection, so that the pooled features are the embedding.
        scaling: of the pixels of a network that is brought, as `students.build` takes it.
        trusted: packages besides Keras whose classes such a network may be made of.

    Raises:
        ArgumentError: a backbone that does not exist, or a size, width, weights or scaling that it does not have.
        KdistillError: a network that cannot be opened or is none from images to features.
    """
    built = students.build(
        network,
        alpha=alpha,
        image_size=image_size,
        weights=weights,
        embedding_dim=embedding_dim,
        scaling=scaling,
        trusted=trusted,
        prefix="assistant_",
    )
    return keras.Model(built.input, built.output, name="assistant")


def with_projection(features: keras.Model, projection: np.ndarray) -> keras.Model:
    """Returns a network without projection under a linear map float32 [C, Da], of unit length again."""
    layer = keras.layers.Dense(projection.shape[1], use_bias=False, name="projection")
    projected = layer(features.output)
    embedding = keras.layers.UnitNormalization(name="projected", dtype="float32")(projected)
    layer.set_weights([projection])
    return keras.Model(features.input, embedding, name="assistant")
