"""Networks that a user brings, opened and checked: a `.keras` file, a preset of KerasHub, what a function returns."""

import dataclasses
import json
import re
from collections.abc import Sequence
from typing import Any

import keras

from kdistill.console.imports import imported
from kdistill.console.quiet import quiet
from kdistill.errors import ArgumentError, KdistillError, first_line
from kdistill.facts.applications import CAFFE
from kdistill.facts.brought import SCALINGS, kind_of, packages_of, preset_of
from kdistill.runtimes.keras_models.keras_config import scales_itself
from kdistill.runtimes.keras_models.keras_files import load_keras_file
from kdistill.runtimes.keras_models.keras_packages import refuse_code
from kdistill.students.pixels import Scale, scale_of, turn_first_kernel
from kdistill.students.rebuilding import at_size, fixed_size

_LAYER = r"[A-Za-z0-9_.\\/>-]+"
_NAME = "backbone"


@dataclasses.dataclass(frozen=True)
class Brought:
    """A network without its head.

    Attributes:
        network: from pixels [B, S, S, 3] to a vector [B, C], tokens [B, T, C] or a map [B, h, w, C].
        scale: what brings pixels from 0 to 255 to what it takes.
    """

    network: keras.Model
    scale: Scale


def open_brought(
    backbone: str, image_size: int, scaling: str = "auto", trusted: Sequence[str] = (), prefix: str = ""
) -> Brought:
    """Opens a network that a user brings.

    Args:
        backbone: a `.keras` file, `kerashub:` and a preset (or the folder of one), or "package.module:function" of a
            function that is called with `image_size` and returns a Keras model.
        image_size: S, that it has to take; a file of another size is rebuilt for it.
        scaling: one of `kdistill.facts.brought.SCALINGS`.
        trusted: packages besides Keras whose classes it may be made of.
        prefix: of the settings that errors name: "" for a student, "assistant_".

    Raises:
        ArgumentError: a scaling that is unknown, missing or one too many; a function that fails or returns something
            else; KerasHub is not installed.
        KdistillError: a network that cannot be opened, or with other inputs or outputs, or for other sizes.
    """
    if scaling not in SCALINGS:
        raise ArgumentError(f"backbone scaling {scaling!r} is unknown; choose one of {', '.join(SCALINGS)}")
    kind, own_scale = kind_of(backbone), None
    if kind == "kerashub":
        network, own_scale = _preset(preset_of(backbone), image_size, prefix)
    else:
        network = _called(backbone, image_size, prefix) if kind == "function" else load_keras_file(backbone, trusted)
    owner = "assistant's " if prefix else ""
    what = f"the {owner}backbone {backbone}"
    network = _plain(network, what, image_size, prefix, rebuilds=kind == "file")
    config = json.loads(json.dumps(network.get_config(), default=str))
    # Whoever opens the student's file later meets the same classes.
    refuse_code(backbone, {"class": _class_of(network), "config": config}, (*trusted, *packages_of(backbone)))
    return Brought(network, _scale(network, scaling, own_scale, what, prefix))


def _called(spec: str, image_size: int, prefix: str) -> Any:
    function = imported(spec, f"--{prefix}backbone: the function")
    try:
        made = function(image_size)
    # The function is the user's program, which may raise anything.
    except Exception as error:
        raise ArgumentError(f"--{prefix}backbone={spec}, called with {image_size}: {first_line(error)}") from error
    if not isinstance(made, keras.Model):
        raise ArgumentError(f"--{prefix}backbone={spec} returns a {type(made).__name__}; a Keras model is expected")
    return made


def _preset(preset: str, image_size: int, prefix: str) -> tuple[Any, Scale | None]:
    """Returns the backbone of a preset, and the scale of its image converter where it has one."""
    what = f"--{prefix}backbone=kerashub:{preset}"
    try:
        with quiet():
            import keras_hub
    except ImportError as error:
        raise ArgumentError(
            f"{what} needs KerasHub (python -m pip install 'kdistill[kerashub]'): {first_line(error)}"
        ) from error
    # KerasHub raises many kinds of errors for a preset that is not there, is damaged, or is of text.
    try:
        # Its own name would count the networks of this process.
        network = keras_hub.models.Backbone.from_preset(preset, name=_NAME)
        shapes = [tuple(tensor.shape) for tensor in network.inputs]
        if len(shapes) == 1 and len(shapes[0]) == 4 and None not in shapes[0][1:3] and shapes[0][1] != image_size:
            network = keras_hub.models.Backbone.from_preset(preset, image_shape=(image_size, image_size, 3), name=_NAME)
    except Exception as error:
        raise KdistillError(
            f"{what} cannot be opened for images of {image_size} pixels: {first_line(error)}"
        ) from error
    try:
        converter = keras_hub.layers.ImageConverter.from_preset(preset)
    except Exception:  # a preset without one, of which --backbone_scaling then tells
        return network, None
    scale, offset = (getattr(converter, name) for name in ("scale", "offset"))
    return network, (1.0 if scale is None else _plainly(scale), 0.0 if offset is None else _plainly(offset))


def _plainly(numbers: Any) -> float | list[float]:
    return [float(number) for number in numbers] if isinstance(numbers, list | tuple) else float(numbers)


def _plain(network: keras.Model, what: str, image_size: int, prefix: str, *, rebuilds: bool) -> keras.Model:
    """Returns a network of this size, as a plain model called "backbone" where it is no class of its own."""
    try:
        by_layers = "layers" in network.get_config()
    # A class of the user's own may raise anything.
    except Exception as error:
        raise KdistillError(f"{what} cannot be saved: {first_line(error)}") from error
    inputs, outputs = (list(getattr(network, name, None) or []) for name in ("inputs", "outputs"))
    if len(inputs) != 1 or len(outputs) != 1:
        raise KdistillError(
            f"{what} has {len(inputs)} inputs and {len(outputs)} outputs of known shapes; a Functional or Sequential "
            "model from one image to one output is expected"
        )
    shape, rank = tuple(inputs[0].shape), len(outputs[0].shape)
    if len(shape) != 4 or shape[3] != 3:
        raise KdistillError(f"{what} takes {list(shape)}; RGB images [batch, S, S, 3] are expected")
    if rank not in (2, 3, 4) or outputs[0].shape[-1] is None:
        raise KdistillError(
            f"{what} gives {list(outputs[0].shape)}; a vector [batch, C], tokens [batch, T, C] or a map [batch, h, w, "
            "C] is expected"
        )
    odd = [layer.name for layer in network.layers if not re.fullmatch(_LAYER, layer.name)]
    if odd:
        raise KdistillError(
            f"{what} has a layer {odd[0]!r}; TensorFlow's graphs take names of letters, digits and _ . \\ / > - alone"
        )
    if getattr(network.layers[-1], "activation", None) is keras.activations.softmax:
        raise KdistillError(f"{what} ends in a softmax over classes; save or return the network without its head")
    # A class of its own, such as KerasHub's, is saved by its own settings: taken apart it would not come back.
    plain = keras.Model(inputs[0], outputs[0], name=_NAME) if by_layers else network
    if shape[1] is None or shape[2] is None:
        return plain
    if fixed_size(plain, what) != image_size:
        if not rebuilds:
            raise KdistillError(
                f"{what} takes images of {shape[1]} pixels a side, not of --{prefix}image_size={image_size}"
            )
        plain = at_size(plain, image_size)
    return plain


def _class_of(network: keras.Model) -> dict[str, str]:
    return {"module": type(network).__module__, "class_name": type(network).__name__}


def _scale(network: keras.Model, scaling: str, own: Scale | None, what: str, prefix: str) -> Scale:
    flag = f"--{prefix}backbone_scaling"
    scales = scales_itself(network)
    if scaling == "auto":
        if scales or own is not None:
            return own or (1.0, 0.0)
        raise ArgumentError(
            f"{what} does not say on which scale it takes pixels; say it with {flag}: {', '.join(SCALINGS[1:])}"
        )
    if scales and scaling != "none":
        raise ArgumentError(f"{flag}={scaling}: {what} takes pixels from 0 to 255 and scales them itself; leave it out")
    if scaling == CAFFE:
        turn_first_kernel(network, what)
    return scale_of(scaling)
