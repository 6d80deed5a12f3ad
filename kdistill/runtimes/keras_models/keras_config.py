"""What the configuration of a Keras model says of it: whether it scales its pixels itself, and what it computes."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

_OPERATIONS = {
    **{"TrueDivide": "divide", "Divide": "divide", "Multiply": "multiply", "Subtract": "subtract", "Add": "add"},
    **{
        "tf.math.truediv": "divide",
        "tf.math.multiply": "multiply",
        "tf.math.subtract": "subtract",
        "tf.math.add": "add",
    },
}
"""Arithmetic on tensors, as Keras 3 and Keras 2 (a layer of the class TFOpLambda) call it."""

_LARGEST_SPAN, _LEAST_SHIFT = 20.0, 20.0
"""Pixels 0..255 that were divided span less than this, and those from which a mean was taken are shifted by more. What
begins with 0..1 or -1..1 looks otherwise: multiplied by 2 it would span 510."""

Range = tuple[np.ndarray, np.ndarray]
"""What the pixels 0 and 255 have become."""

_LEAVES_THE_SCALE = {
    *("Activation", "Cast", "CenterCrop", "Cropping2D", "Dropout", "Identity", "Permute", "RandomCrop", "RandomFlip"),
    *("RandomRotation", "RandomTranslation", "RandomZoom", "Reshape", "Resizing", "ZeroPadding2D"),
}


def scales_itself(network: Any) -> bool:
    """Returns whether every path from a model's input first brings pixels 0..255 to the scale of the layers behind.

    By Rescaling and Normalization, and arithmetic with constants, as `preprocess_input` adds it; in inner models too.
    Layers that move pixels or leave them alone may stand before and between. The numbers count: `Rescaling(2.0, -1.0)`
    takes pixels from 0 to 1.
    """
    try:
        config = network.get_config()
    except (NotImplementedError, TypeError):
        return False
    raw = np.zeros(1), np.full(1, 255.0)
    return _scales(config, _layers_by_name(network), _first_layers(config), raw)


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


def _scales(config: dict[str, Any], objects: dict[str, Any], layers: Iterable[dict[str, Any]], pixels: Range) -> bool:
    """Returns whether all these layers of a model, which are given `pixels`, are followed or are scaled ones."""
    starts = list(layers)
    return all(_layer_scales(config, objects, layer, pixels) for layer in starts) if starts else _is_scaled(pixels)


def _layer_scales(config: dict[str, Any], objects: dict[str, Any], layer: dict[str, Any], pixels: Range) -> bool:
    kind, inner = layer.get("class_name"), layer.get("config")
    if isinstance(inner, dict) and isinstance(inner.get("layers"), list):
        return _scales(inner, objects, _first_layers(inner), pixels)
    if kind in _LEAVES_THE_SCALE and not (kind == "Activation" and inner and inner.get("activation") != "linear"):
        return _scales(config, objects, _followers(config, layer), pixels)
    step = _step(layer, objects)
    if step is None:
        return _is_scaled(pixels)
    factor, shift = step
    return _scales(config, objects, _followers(config, layer), (pixels[0] * factor + shift, pixels[1] * factor + shift))


def _is_scaled(pixels: Range) -> bool:
    span, shift = np.abs(pixels[1] - pixels[0]).max(), np.abs(pixels[0]).min()
    return bool(0 < span <= _LARGEST_SPAN or (span <= 256 and shift >= _LEAST_SHIFT))


def _step(layer: dict[str, Any], objects: dict[str, Any]) -> tuple[np.ndarray, np.ndarray] | None:
    """Returns (factor, shift) of a layer that multiplies and adds constants; None for any other."""
    kind, inner = layer.get("class_name"), layer.get("config") or {}
    if kind == "Rescaling":
        return _numbers(inner.get("scale")), _numbers(inner.get("offset"))
    if kind == "Normalization":
        return _normalisation(inner, objects.get(inner.get("name", "")))
    operation = _OPERATIONS.get(_operation(str(layer.get("name"))) if kind == "TFOpLambda" else str(kind))
    nodes = layer.get("inbound_nodes")
    constants = list(_constants(nodes))
    if operation is None or len(constants) != 1 or len(list(_sources(nodes))) != 1:
        return None
    constant = constants[0]
    if operation in ("add", "multiply"):
        return (np.ones(1), constant) if operation == "add" else (constant, np.zeros(1))
    if not _tensor_first(nodes) or not constant.all():
        return None
    return (np.ones(1), -constant) if operation == "subtract" else (1 / constant, np.zeros(1))


def _normalisation(config: dict[str, Any], layer: Any) -> tuple[np.ndarray, np.ndarray] | None:
    """Returns (factor, shift) of a Normalization, whose numbers stand in its configuration or, adapted, in itself."""
    mean, variance = (
        getattr(layer, name, None) if config.get(name) is None else config[name] for name in ("mean", "variance")
    )
    if mean is None or variance is None:
        return None
    mean, deviation = _numbers(mean), np.maximum(np.sqrt(np.maximum(_numbers(variance), 0.0)), 1e-7)
    return (deviation, mean) if config.get("invert") else (1 / deviation, -mean / deviation)


def _numbers(values: Any) -> np.ndarray:
    """Returns float64 [1] or [3] of a number, a list or an array, or of one that is written as a dictionary."""
    if isinstance(values, dict):
        values = (values.get("config") or {}).get("value", 0.0)
    return np.asarray(values, np.float64).reshape(-1)


def _constants(node: Any) -> Iterator[np.ndarray]:
    """Yields the numbers in `inbound_nodes` that are no part of a tensor's name or shape."""
    if isinstance(node, dict):
        if node.get("class_name") in ("__numpy__", "__tensor__"):
            yield _numbers(node)
        elif node.get("class_name") != "__keras_tensor__":
            for item in node.values():
                yield from _constants(item)
    elif isinstance(node, list | tuple):
        inside = node[3:] if _is_history(node) else node
        if inside and all(isinstance(item, int | float) and not isinstance(item, bool) for item in inside):
            yield _numbers(inside)
        else:
            for item in inside:
                yield from _constants(item)
    elif isinstance(node, int | float) and not isinstance(node, bool):
        yield _numbers(node)


def _tensor_first(nodes: Any) -> bool:
    """Returns whether the tensor stands before the constant."""
    first = nodes
    while isinstance(first, list | tuple) and first and not _is_history(first):
        first = first[0].get("args", first[0]) if isinstance(first[0], dict) and "args" in first[0] else first[0]
    return isinstance(first, list | tuple) or (
        isinstance(first, dict) and first.get("class_name") == "__keras_tensor__"
    )


def _layers_by_name(network: Any) -> dict[str, Any]:
    """Returns the layers of a model and of its inner ones."""
    found: dict[str, Any] = {}
    for layer in getattr(network, "layers", ()):
        found |= {layer.name: layer, **_layers_by_name(layer)}
    return found


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
