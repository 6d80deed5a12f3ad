"""Pixels on the scale that a network was trained with, as one layer inside the student."""

from collections.abc import Sequence
from typing import Any

import keras

from kdistill.errors import KdistillError
from kdistill.facts.applications import CAFFE, OWN, SYMMETRIC
from kdistill.facts.brought import MEANS_AND_DEVIATIONS

_CAFFE_MEAN = (123.68, 116.779, 103.939)
_MOVES_PIXELS_ALONE = (keras.layers.InputLayer, keras.layers.ZeroPadding2D)

Scale = tuple[float | Sequence[float], float | Sequence[float]]
"""What pixels from 0 to 255 are multiplied by, and what is added then: a number, or one for each colour."""


def scale_of(scaling: str) -> Scale:
    """Returns the numbers of a scaling by name, of `kdistill.facts.applications` or `kdistill.facts.brought`."""
    if scaling in MEANS_AND_DEVIATIONS:
        means, deviations = MEANS_AND_DEVIATIONS[scaling]
        return (
            [1 / (255 * deviation) for deviation in deviations],
            [-mean / deviation for mean, deviation in zip(means, deviations, strict=True)],
        )
    if scaling == CAFFE:
        return 1.0, [-mean for mean in _CAFFE_MEAN]
    return {OWN: (1.0, 0.0), "none": (1.0, 0.0), "unit": (1 / 255, 0.0), SYMMETRIC: (1 / 127.5, -1.0)}[scaling]


def scale_pixels(scale: Scale, image: Any) -> Any:
    """Returns symbolic uint8 [B, H, W, 3] RGB on a scale.

    One Rescaling layer, so that every converter and every other program sees it. Where a network takes blue first, the
    pixels stay in the order of RGB and its first kernel is turned around instead (`turn_first_kernel`).
    """
    factor, offset = scale
    return keras.layers.Rescaling(factor, offset=offset, name="rescale")(image)


def turn_first_kernel(network: keras.Model, what: str) -> None:
    """Lets a network that was trained with blue first take red first.

    Args:
        network: as it was trained.
        what: its name in messages.

    Raises:
        KdistillError: something else than a convolution is given the pixels.
    """
    layers = network.layers
    behind = [layer for layer in layers if not isinstance(layer, (*_MOVES_PIXELS_ALONE, keras.layers.Rescaling))]
    first = behind[0] if behind else None
    if first is None or type(first) is not keras.layers.Conv2D:
        raise KdistillError(
            f"{what} is to be given blue first ({CAFFE}), which can be had where a convolution takes the pixels; put "
            "the change of their order into the network"
        )
    kernel, *rest = first.get_weights()
    first.set_weights([kernel[:, :, ::-1], *rest])
