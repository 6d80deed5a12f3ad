"""What the configuration of a Keras model says of it: whether it scales its pixels itself, and what it computes."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np

_SCALING = {"Rescaling", "Normalization", "TrueDivide", "Divide", "Multiply", "Subtract", "Add"}
_SCALING_OPERATIONS = {"tf.math.truediv", "tf.math.multiply", "tf.math.subtract", "tf.math.add"}
"""How Keras 2 calls arithmetic on tensors (a layer of the class TFOpLambda)."""

_LEAVES_THE_SCALE = {
    *("Activation", "Cast", "CenterCrop", "Cropping2D", "Dropout", "Identity", "Permute", "RandomCrop", "RandomFlip"),
    *("RandomRotation", "RandomTranslation", "RandomZoom", "Reshape", "Resizing", "ZeroPadding2D"),
}


def scales_itself(network: Any) -> bool:
    """Returns whether every path from a model's input first meets a layer that brings pixels to another scale.

    These are Rescaling and Normalization, and arithmetic with constants, as `preprocess_input` adds it; in inner models
    too. Layers that move pixels or leave them alone may stand before.
    """
    try:
        config = network.get_config()
    except (NotImplementedError, TypeError):
        return False
    return _scales(config, _first_layers)


def fingerprint_text(network: Any) -> str:
    """Returns what a model computes, its weights aside, as a text that names of layers do not change.

    Keras numbers the layers of a process, so that the same model is `dense` in one and `dense_3` in another.
    """
    try:
        config = network.get_config()
    except (NotImplementedError, TypeError):
        return type(network).__qualname__
    numbers: dict[str, str] = {}
    for name in _layer_names(config):
        # This name stays, since it decides which output counts.
        if name != "embedding":
            numbers.setdefault(name, f"#{len(numbers)}")
    config = {key: value for key, value in config.items() if key != "name"}
    return json.dumps(_renamed(config, numbers), sort_keys=True, default=_plain)


def _plain(value: Any) -> Any:
    """Returns an array's numbers, such as the mean of a normalisation; of other objects the class."""
    return np.asarray(value).tolist() if hasattr(value, "__array__") else type(value).__qualname__


def _scales(config: dict[str, Any], first: Any) -> bool:
    starts = list(first(config))
    return bool(starts) and all(_layer_scales(config, layer) for layer in starts)


def _layer_scales(config: dict[str, Any], layer: dict[str, Any]) -> bool:
    kind, inner = layer.get("class_name"), layer.get("config")
    if kind == "TFOpLambda":
        return layer.get("name") is not None and _operation(layer["name"]) in _SCALING_OPERATIONS and _alone(layer)
    if kind in _SCALING:
        return _alone(layer)
    if isinstance(inner, dict) and isinstance(inner.get("layers"), list):
        return _scales(inner, _first_layers)
    if kind in _LEAVES_THE_SCALE and not (kind == "Activation" and inner and inner.get("activation") != "linear"):
        return _scales(config, lambda whole: _followers(whole, layer))
    return False


def _first_layers(config: dict[str, Any]) -> Iterator[dict[str, Any]]:
    layers = config.get("layers", [])
    if "input_layers" not in config:  # Sequential: a chain
        yield from [layer for layer in layers if layer.get("class_name") != "InputLayer"][:1]
        return
    for layer in layers:
        if layer.get("class_name") == "InputLayer":
            yield from _followers(config, layer)


def _followers(config: dict[str, Any], layer: dict[str, Any]) -> Iterator[dict[str, Any]]:
    layers = config["layers"]
    if "input_layers" not in config:
        yield from layers[layers.index(layer) + 1 :][:1]
        return
    name = layer.get("name") or layer["config"]["name"]
    yield from (other for other in layers if name in _sources(other.get("inbound_nodes")))


def _sources(node: Any) -> Iterator[str]:
    """Yields the names of layers in `inbound_nodes`, in the layout of Keras 2 or 3: [name, number, number, ...]."""
    if isinstance(node, dict):
        node = list(node.values())
    if isinstance(node, list | tuple):
        if _is_history(node):
            yield node[0]
        for item in node:
            yield from _sources(item)


def _is_history(node: Any) -> bool:
    return len(node) >= 3 and isinstance(node[0], str) and all(type(item) is int for item in node[1:3])


def _alone(layer: dict[str, Any]) -> bool:
    """Returns whether a layer's only tensor is its input, the rest being constants."""
    return "inbound_nodes" not in layer or len(list(_sources(layer["inbound_nodes"]))) == 1


def _operation(name: str) -> str:
    return name.rpartition("_")[0] if name.rpartition("_")[2].isdigit() else name


def _layer_names(config: dict[str, Any]) -> Iterator[str]:
    for layer in config.get("layers", []):
        inner = layer.get("config")
        yield layer.get("name") or inner["name"]
        if isinstance(inner, dict):
            yield from _layer_names(inner)


def _renamed(config: Any, numbers: dict[str, str], of_layer: bool = False) -> Any:
    """Returns the configuration with numbers for the names of layers, where one stands as a layer's or as a source."""
    if isinstance(config, dict):
        layers = config.get("layers")
        return {
            str(key): [_renamed(layer, numbers, True) for layer in layers or ()]
            if key == "layers" and isinstance(layers, list)
            else numbers.get(value, value)
            if key == "name" and of_layer and isinstance(value, str)
            else _renamed(value, numbers, of_layer and key == "config")
            for key, value in config.items()
        }
    if isinstance(config, list | tuple):
        if _is_history(config):
            return [numbers.get(config[0], config[0]), *(_renamed(item, numbers) for item in config[1:])]
        return [_renamed(item, numbers) for item in config]
    return config
