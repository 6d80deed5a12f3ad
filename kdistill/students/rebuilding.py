"""A student's shape and arithmetic: what images it takes, and the same network for other sizes, batches and types."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np

from kdistill import stacks
from kdistill.errors import ArgumentError, KdistillError, first_line

_FLOATS = ("float16", "bfloat16", "float64", "mixed_float16", "mixed_bfloat16")
"""Names of types and policies that `in_float32` replaces."""


def image_size(student: keras.Model) -> int:
    """Returns the side in pixels of the square input; everything that takes a student's images asks here.

    Raises:
        KdistillError: the model is no Functional one of one input, or does not take [batch, S, S, 3] with a fixed S.
    """
    return fixed_size(student, f"the model {student.name!r}")


def fixed_size(model: keras.Model, what: str) -> int:
    """Returns the side as `image_size` does; `what` is the model's name in messages."""
    shape = _input_shape(model, what)
    if len(shape) != 4 or shape[3] != 3:
        raise KdistillError(f"{what} takes inputs {list(shape)}, a student takes RGB images [batch, S, S, 3]")
    height, width = shape[1:3]
    if height is None or width is None:
        raise KdistillError(f"{what} leaves the size of its images open, {list(shape)}; a student fixes it")
    if height != width:
        raise KdistillError(
            f"{what} takes images {height} pixels high and {width} wide; a student takes squares, to which every "
            "image is resized"
        )
    return int(height)


def embedding_dim(student: keras.Model) -> int:
    """Returns Ds.

    Raises:
        KdistillError: the model does not give one vector an image.
    """
    outputs = getattr(student, "outputs", None) or []
    if len(outputs) != 1 or len(outputs[0].shape) != 2 or outputs[0].shape[1] is None:
        shapes = [list(output.shape) for output in outputs]
        raise KdistillError(f"the model {student.name!r} gives {shapes}, a student gives one embedding [batch, D]")
    return int(outputs[0].shape[1])


def at_size(student: keras.Model, image_size: int) -> keras.Model:
    """Returns the same student, weights copied, for square inputs of another side in pixels.

    Raises:
        KdistillError: the network cannot take this size, or see `image_size`.
    """
    return _with_input_shape(student, _input_shape(student, f"the model {student.name!r}")[0], image_size)


def at_batch(student: keras.Model, batch_size: int | None) -> keras.Model:
    """Returns the same student, weights copied, with a fixed batch (or a free one for None).

    Raises:
        KdistillError: see `image_size`.
    """
    return _with_input_shape(student, batch_size, image_size(student))


def in_float32(student: keras.Model) -> keras.Model:
    """Returns a student that computes in float32 with the same weights: itself where it does so already.

    Exported files are float32 at first, whatever policy the student was trained under: converters keep its casts, and
    runtimes lack operators for other types.

    Raises:
        KdistillError: the model cannot be rebuilt.
    """
    config = copy.deepcopy(_config(student))
    changed = False
    for node in _nodes(config):
        if _policy_name(node.get("dtype")) in _FLOATS:
            node["dtype"] = "float32"
            changed = True
    if not changed:
        return student
    return _rebuilt(student, config, "in float32")


def in_precision(student: keras.Model, policy: str) -> keras.Model:
    """Returns a student that computes by a policy of Keras with the same float32 weights; itself for "float32".

    Its last layer stays as it is: the norm of an embedding is taken in float32. `in_float32` turns it back.

    Args:
        student: of float32.
        policy: "float32", "mixed_float16" or "mixed_bfloat16".

    Raises:
        KdistillError: the model cannot be rebuilt.
    """
    if policy == "float32":
        return student
    config = copy.deepcopy(_config(student))
    for node in _nodes(config):
        # Inputs and recorded tensors have a type too, but nothing that could be trained.
        if (
            "trainable" in node
            and _policy_name(node.get("dtype")) == "float32"
            and node.get("name") != student.layers[-1].name
        ):
            node["dtype"] = policy
    return _rebuilt(student, config, f"for {policy}")


def freeze_batch_norm(model: keras.Model) -> None:
    """Keeps all batch normalisation of a model as it is, in networks inside it too."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            freeze_batch_norm(layer)
        elif isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False


def _input_shape(model: keras.Model, what: str) -> tuple[int | None, ...]:
    inputs = getattr(model, "inputs", None) or []
    if len(inputs) != 1:
        raise KdistillError(f"{what} has {len(inputs)} inputs of known shapes, a student has one")
    return tuple(inputs[0].shape)


def _with_input_shape(student: keras.Model, batch_size: int | None, size: int) -> keras.Model:
    own = image_size(student)
    if size < 1:
        raise ArgumentError(f"images of {size} pixels a side were asked for; it takes at least 1")
    config = copy.deepcopy(_config(student))
    outermost = True
    for node in _nodes(config):
        if node.get("class_name") != "InputLayer":
            continue
        key = stacks.INPUT_SHAPE_KEY
        shape = node["config"][key]
        if outermost:
            node["config"][key] = (batch_size, size, size, 3)
            outermost = False
        elif list(shape[1:]) == [own, own, 3]:
            # A network inside the student, which is given the image.
            node["config"][key] = (shape[0], size, size, 3)
    return _rebuilt(student, config, f"for a batch of {batch_size} images of {size} pixels")


def _config(student: keras.Model) -> dict[str, Any]:
    try:
        config = student.get_config()
    # A class of the user's own may raise anything.
    except Exception as error:
        raise KdistillError(f"the model {student.name!r} cannot be rebuilt: {first_line(error)}") from error
    if "layers" not in config:
        raise KdistillError(f"the model {student.name!r} is a class of its own; a student is a Functional Keras model")
    return dict(config)


def _rebuilt(student: keras.Model, config: dict[str, Any], what: str) -> keras.Model:
    for node in _nodes(config):
        # Recorded shapes belong to the old input and types; layers are built anew when the graph is replayed.
        for key in ("build_config", "build_input_shape"):
            node.pop(key, None)
    create: Callable[..., keras.Model] = student.__class__.from_config
    try:
        rebuilt = create(config)
        weights = student.get_weights()
        # Keras does not turn every type of a weight into every other.
        rebuilt.set_weights([np.asarray(weight, np.float32) if _is_float(weight) else weight for weight in weights])
    # Layers raise many kinds of errors where a size does not suit them.
    except Exception as error:
        raise KdistillError(f"the model {student.name!r} cannot be rebuilt {what}: {first_line(error)}") from error
    return rebuilt


def _is_float(weight: np.ndarray) -> bool:
    return weight.dtype.kind == "f" or weight.dtype.name == "bfloat16"


def _policy_name(dtype: Any) -> str | None:
    """Returns the name of a type or policy as it stands in a layer's configuration."""
    if isinstance(dtype, dict):
        content = dtype.get("config")
        return str(content.get("name")) if isinstance(content, dict) else None
    return dtype if isinstance(dtype, str) else None


def _nodes(config: Any) -> Iterator[dict[str, Any]]:
    """Yields all objects of a configuration, in its order, the outer ones first."""
    waiting = [config]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            yield node
            waiting.extend(reversed(list(node.values())))
        elif isinstance(node, list | tuple):
            waiting.extend(reversed(node))
