"""The assistant's network: a backbone that a student could have, or a file of pooled features, under a projection."""

from pathlib import Path

import keras
import numpy as np

from kdistill import students
from kdistill.errors import ArgumentError, KdistillError, first_line
from kdistill.facts.students import BACKBONES, is_known
from kdistill.runtimes.keras_models.keras_config import scales_itself
from kdistill.runtimes.keras_models.keras_files import load_keras_file


def build_assistant(
    network: str,
    *,
    alpha: float = 1.0,
    image_size: int = 192,
    weights: str | None = None,
    embedding_dim: int | None = 128,
) -> keras.Model:
    """Builds an assistant: uint8 [B, S, S, 3] RGB -> float32 [B, Da] of unit length.

    Args:
        network: a backbone of `students.build`, or a `.keras` file from images to pooled features [B, C] that brings
            pixels 0..255 to its own scale.
        alpha: width multiplier of a backbone.
        image_size: S in pixels; a file is rebuilt for it.
        weights: of a backbone, as `students.build` takes them.
        embedding_dim: Da; None leaves out the projection, so that the pooled features are the embedding.

    Raises:
        ArgumentError: a backbone that does not exist, or a size, width or weights that it does not have.
        KdistillError: a file that cannot be read or is no such network.
    """
    if is_known(network):
        return students.build(network, alpha=alpha, image_size=image_size, embedding_dim=embedding_dim, weights=weights)
    features = _from_file(network, image_size)
    image = keras.Input((image_size, image_size, 3), dtype="uint8", name="image")
    # Keras casts no whole numbers: the file's own scaling comes behind this one.
    pooled = features(keras.layers.Rescaling(1.0, name="pixels")(image))
    if embedding_dim is not None:
        pooled = keras.layers.Dense(embedding_dim, use_bias=False, name="projection")(pooled)
    embedding = keras.layers.UnitNormalization(name="embedding", dtype="float32")(pooled)
    return keras.Model(image, embedding, name="assistant")


def pooled_features(assistant: keras.Model) -> keras.Model:
    """Returns the part of an assistant before its projection, L2-normalised; it shares its weights."""
    pooled = assistant.get_layer("projection").input
    return keras.Model(assistant.input, keras.layers.UnitNormalization(dtype="float32")(pooled), name="features")


def with_projection(features: keras.Model, projection: np.ndarray) -> keras.Model:
    """Returns a network without projection under a linear map float32 [C, Da], of unit length again."""
    layer = keras.layers.Dense(projection.shape[1], use_bias=False, name="projection")
    projected = layer(features.output)
    embedding = keras.layers.UnitNormalization(name="projected", dtype="float32")(projected)
    layer.set_weights([projection])
    return keras.Model(features.input, embedding, name="assistant")


def _from_file(path: str, image_size: int) -> keras.Model:
    if not Path(path).is_file():
        raise ArgumentError(f"the assistant's network {path!r} is neither a file nor one of {', '.join(BACKBONES)}")
    try:
        network = load_keras_file(path)
    except Exception as error:
        raise KdistillError(f"{path} is not a readable Keras model: {first_line(error)}") from error
    students.embedding_dim(network)
    if not scales_itself(network):
        raise KdistillError(
            f"{path} does not say on which scale it takes pixels; put a Rescaling layer in front of it, so that it "
            "takes 0 to 255"
        )
    return network if students.image_size(network) == image_size else students.at_size(network, image_size)
