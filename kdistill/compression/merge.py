"""Compactors go out: zero columns are cut, the rest is folded into plain convolutions."""

from typing import Any

import keras
import numpy as np

from kdistill.compression.graph import Fresh, copy_of, rebuild
from kdistill.compression.insert import compactor_name, compactors
from kdistill.compression.paths import ChannelPath, channel_paths, is_normalised, left_by_zero


def merge(student: keras.Model) -> keras.Model:
    """Returns the plain student that computes what this one computes, with fewer channels and no compactor.

    Convolution, normalisation (its moving statistics) and compactor become one convolution with bias. Columns that are
    exactly 0 are cut from it, from all that follows, and from the reader, which takes the constant that they left into
    its bias. A path whose columns are all 0 keeps one channel of zeros.

    Args:
        student: of `insert_compactors`.
    """
    paths = channel_paths(student)
    kept = {name: _columns(compactor.kernel) for name, compactor in compactors(student, paths).items()}
    made = {path.producer: path for path in paths}
    read = {path.consumer: path for path in paths}
    chains: dict[str, list[Fresh]] = {}
    for path in paths:
        chains[path.norm] = []
        chains[compactor_name(path)] = []
        for name in path.followers:
            chains[name] = [_sliced(student.get_layer(name), kept[path.producer], path.channels)]
    for name in {*made, *read}:
        chains[name] = [_mixing(student, name, made.get(name), read.get(name), kept)]
    return rebuild(student, chains)


def _columns(kernel: Any) -> np.ndarray:
    columns = np.flatnonzero(np.abs(np.asarray(kernel)).sum(0))
    return columns if len(columns) else np.zeros(1, np.int64)


def _sliced(layer: keras.layers.Layer, kept: np.ndarray, channels: int) -> Fresh:
    """Returns a layer that treats each channel for itself, for the kept channels."""
    weights = []
    for value in layer.get_weights():
        # A depthwise kernel is [kh, kw, C, 1]; biases and statistics are [C]; an exponent is a scalar.
        axis = 2 if value.ndim == 4 else 0
        weights.append(np.take(value, kept, axis) if value.ndim and value.shape[axis] == channels else value)
    return copy_of(layer), weights


def _mixing(
    student: keras.Model, name: str, made: ChannelPath | None, read: ChannelPath | None, kept: dict[str, np.ndarray]
) -> Fresh:
    """Returns a convolution or dense layer for the kept channels on either side."""
    layer = student.get_layer(name)
    kernel = layer.get_weights()[0].astype(np.float64)
    bias = layer.get_weights()[1].astype(np.float64) if layer.use_bias else np.zeros(kernel.shape[-1])
    use_bias = layer.use_bias
    if read is not None:
        columns = kept[read.producer]
        left = left_by_zero(student, read).astype(np.float64)
        left[columns] = 0
        bias = bias + (left @ kernel).reshape(-1, kernel.shape[-1]).sum(0)
        kernel = np.take(kernel, columns, -2)
        use_bias |= bool(np.abs(left).max() > 1e-5) or is_normalised(student, read)
    if made is not None:
        scale, shift = _affine(student.get_layer(made.norm))
        columns = kept[made.producer]
        compactor = np.asarray(student.get_layer(compactor_name(made)).kernel, np.float64)[:, columns]
        kernel = (kernel * scale) @ compactor
        bias = (bias * scale + shift) @ compactor
        use_bias = True
    size = {"filters" if "filters" in layer.get_config() else "units": kernel.shape[-1]}
    weights = [kernel.astype(np.float32)] + ([bias.astype(np.float32)] if use_bias else [])
    return copy_of(layer, use_bias=use_bias, **size), weights


def _affine(norm: keras.layers.Layer) -> tuple[np.ndarray, np.ndarray]:
    """Returns scale and shift, float64 [C], of a normalisation by its moving statistics."""
    values = [value.astype(np.float64) for value in norm.get_weights()]
    gamma = values.pop(0) if norm.scale else 1.0
    beta = values.pop(0) if norm.center else 0.0
    mean, variance = values
    scale = gamma / np.sqrt(variance + norm.epsilon)
    return scale, beta - mean * scale
