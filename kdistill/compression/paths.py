"""Which channels of a network can go: from the convolution that makes them to the one layer that reads them."""

import dataclasses

import keras
import numpy as np

from kdistill.compression.graph import consumers
from kdistill.layers.compactor import Compactor
from kdistill.layers.gem import GeM

_ELEMENTWISE = (keras.layers.ReLU, keras.layers.Activation)
_POOLS = (keras.layers.GlobalAveragePooling2D, GeM)


@dataclasses.dataclass(frozen=True)
class ChannelPath:
    """Channels that one convolution makes and one layer reads, so that cutting some concerns nobody else.

    Attributes:
        producer: name of the convolution that makes the channels.
        norm: name of the batch normalisation right behind it; the compactor stands behind this.
        followers: names of the layers after it that treat each channel for itself: activations, padding, depthwise
            convolutions and their normalisations, pooling.
        consumer: name of the convolution or dense layer that mixes the channels.
        channels: how many there are.
    """

    producer: str
    norm: str
    followers: tuple[str, ...]
    consumer: str
    channels: int


def channel_paths(student: keras.Model) -> list[ChannelPath]:
    """Returns the paths of a student, in the order of its layers; a compactor in the student is no part of a path.

    These are the expansions of MobileNetV2 (expand, depthwise, project), the pointwise convolutions of MobileNetV1, the
    two inner convolutions of a bottleneck of ResNetV2, and convolutions in a plain row. The channels of a residual
    stream are read by many and stay.

    A path ends where a cut channel would not be a constant that its reader can take into a bias: behind a
    normalisation, zero padding makes the border differ from the middle.
    """
    readers = consumers(student)
    found = []
    for layer in student.layers:
        following = readers[layer.name]
        if type(layer) is not keras.layers.Conv2D or len(following) != 1 or not _plain(layer):
            continue
        norm = following[0]
        if isinstance(norm, keras.layers.BatchNormalization):
            path = _follow(layer, norm, readers)
            if path is not None:
                found.append(path)
    return found


def is_normalised(student: keras.Model, path: ChannelPath) -> bool:
    """Returns whether a normalisation stands between a path's producer and its consumer, behind the first one."""
    return any(isinstance(student.get_layer(name), keras.layers.BatchNormalization) for name in path.followers)


def left_by_zero(student: keras.Model, path: ChannelPath) -> np.ndarray:
    """Returns what reaches the consumer, float32 [C], from channels that are 0 behind the normalisation."""
    value = np.zeros((1, 1, 1, path.channels), np.float32)
    for name in path.followers:
        layer = student.get_layer(name)
        if isinstance(layer, keras.layers.DepthwiseConv2D):
            value = value * 0 + (layer.get_weights()[1] if layer.use_bias else 0)
        elif isinstance(layer, keras.layers.BatchNormalization):
            value = np.asarray(layer(value, training=False))
        elif isinstance(layer, _ELEMENTWISE):
            value = np.asarray(layer(value))
        elif isinstance(layer, GeM):
            value = np.maximum(value, layer.epsilon)
    return value.reshape(path.channels)


def _follow(
    producer: keras.layers.Layer, norm: keras.layers.Layer, readers: dict[str, list[keras.layers.Layer]]
) -> ChannelPath | None:
    followers: list[str] = []
    constant = False  # whether a cut channel may be a constant other than 0 here
    layer = norm
    while len(readers[layer.name]) == 1:
        layer = readers[layer.name][0]
        if type(layer) in (keras.layers.Conv2D, keras.layers.Dense):
            pads = type(layer) is keras.layers.Conv2D and layer.padding == "same" and max(layer.kernel_size) > 1
            if (constant and pads) or getattr(layer, "groups", 1) != 1:
                return None
            return ChannelPath(producer.name, norm.name, tuple(followers), layer.name, producer.filters)
        if isinstance(layer, keras.layers.DepthwiseConv2D):
            if constant or layer.depth_multiplier != 1 or not _linear(layer):
                return None
            constant = layer.use_bias
        elif isinstance(layer, keras.layers.BatchNormalization):
            constant = True
        elif isinstance(layer, keras.layers.ZeroPadding2D):
            if constant:
                return None
        elif isinstance(layer, Compactor):
            continue
        elif not isinstance(layer, (*_ELEMENTWISE, *_POOLS)):
            return None
        followers.append(layer.name)
    return None


def _plain(layer: keras.layers.Layer) -> bool:
    return layer.groups == 1 and _linear(layer)


def _linear(layer: keras.layers.Layer) -> bool:
    return layer.get_config()["activation"] == "linear"
