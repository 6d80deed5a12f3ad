"""Weights that hold state instead of being learned."""

from typing import Any

import keras

from kdistill import stacks


def add_state(layer: keras.layers.Layer, name: str, shape: tuple[int, ...], dtype: str) -> Any:
    """Adds a non-trainable weight of zeros that each replica may write; the first replica's value is kept."""
    return layer.add_weight(
        name=name,
        shape=shape,
        dtype=dtype,
        initializer="zeros",
        trainable=False,
        aggregation=stacks.ONLY_FIRST_REPLICA,
    )
