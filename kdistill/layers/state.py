"""Weights that hold state instead of being learned."""

from typing import Any

import keras
import tensorflow as tf


def add_state(layer: keras.layers.Layer, name: str, shape: tuple[int, ...], dtype: str) -> Any:
    """Adds a non-trainable weight of zeros that each replica may write; the first replica's value is kept.

    The two supported generations of Keras spell that rule differently.
    """
    aggregation: Any = "only_first_replica"
    if keras.__version__.startswith("2."):
        aggregation = tf.VariableAggregation.ONLY_FIRST_REPLICA
    return layer.add_weight(
        name=name, shape=shape, dtype=dtype, initializer="zeros", trainable=False, aggregation=aggregation
    )
