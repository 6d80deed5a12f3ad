"""A Functional model built again with some of its layers replaced: how compactors come in and go out."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from kdistill import stacks
from kdistill.errors import ArgumentError

Fresh = tuple[keras.layers.Layer, list[np.ndarray] | None]
"""A layer that was never called, and its weights (None leaves its own start)."""


def copy_of(layer: keras.layers.Layer, **changes: Any) -> keras.layers.Layer:
    """Returns an uncalled layer of the same kind, without the weights.

    Args:
        layer: any serialisable layer.
        **changes: entries of its config that differ.
    """
    fresh = layer.__class__.from_config({**layer.get_config(), **changes})
    fresh.trainable = layer.trainable
    return fresh


def consumers(model: keras.Model) -> dict[str, list[keras.layers.Layer]]:
    """Returns for each layer's name the layers that read its output, in the model's order."""
    producers = {id(layer.output): layer.name for layer in model.layers}
    found: dict[str, list[keras.layers.Layer]] = {layer.name: [] for layer in model.layers}
    for layer in model.layers:
        if not isinstance(layer, keras.layers.InputLayer):
            for tensor in stacks.listed(layer.input):
                found[_producer(producers, tensor, layer)].append(layer)
    return found


def rebuild(model: keras.Model, replacements: Mapping[str, Sequence[Fresh]]) -> keras.Model:
    """Returns a model of fresh layers with the weights of the old one.

    Args:
        model: Functional, one input, one output, each layer used once.
        replacements: for the names in it, the chain of layers that stands in the old one's place; an empty chain takes
            the layer out. Each other layer is copied.

    Raises:
        ArgumentError: the model is not of this kind.
    """
    tensors: dict[int, Any] = {}
    pending: list[tuple[keras.layers.Layer, list[np.ndarray]]] = []
    first = None
    for layer in model.layers:
        if isinstance(layer, keras.layers.InputLayer):
            shape = tuple(layer.output.shape)
            first = keras.Input(shape[1:], batch_size=shape[0], dtype=layer.dtype, name=layer.name)
            tensors[id(layer.output)] = first
            continue
        given = [tensors[id(tensor)] for tensor in stacks.listed(layer.input) if id(tensor) in tensors]
        if len(given) != len(stacks.listed(layer.input)):
            raise _unsuitable(layer)
        result = given if len(given) > 1 else given[0]
        chain = replacements.get(layer.name)
        for fresh, weights in [(copy_of(layer), layer.get_weights())] if chain is None else chain:
            result = fresh(result)
            if weights is not None:
                pending.append((fresh, weights))
        tensors[id(layer.output)] = result
    rebuilt = keras.Model(first, tensors[id(model.output)], name=model.name)
    for fresh, weights in pending:
        fresh.set_weights(weights)
    return rebuilt


def _producer(producers: Mapping[int, str], tensor: Any, layer: keras.layers.Layer) -> str:
    if id(tensor) not in producers:
        raise _unsuitable(layer)
    return producers[id(tensor)]


def _unsuitable(layer: keras.layers.Layer) -> ArgumentError:
    return ArgumentError(
        f"this student cannot be compressed: its layer {layer.name!r} does not stand alone in the graph; "
        "small_cnn, mobilenet_v1, mobilenet_v2 and resnet50_v2 can"
    )
