"""Readers of cut channels learn, in closed form, to give again what they gave before the cut."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kdistill import stacks
from kdistill.compression.paths import ChannelPath

_BATCH = 64
_RIDGE = 1e-3


def refit(
    merged: keras.Model,
    large: keras.Model,
    paths: Sequence[ChannelPath],
    kept: dict[str, np.ndarray],
    pixels: np.ndarray,
    rows: int = 10000,
    seed: int = 0,
) -> None:
    """Sets the kernel and bias of each path's consumer in `merged`, in the order of the layers.

    Kernel and bias minimise the squared difference from what the consumer gives in `large`, on images that need no
    answer and no label, plus a ridge that holds them at what they are. Each consumer sees the inputs that the small
    student itself makes, so that later ones make up for earlier ones. The idea is that of channel pruning by
    reconstruction (He et al., ICCV 2017, arXiv 1707.06168); it is no part of CDD.

    Args:
        merged: of `merge`.
        large: the student before compactors went in.
        paths: of `large`.
        kept: producer -> int [C'], the channels that `merged` has.
        pixels: uint8 [n, H, W, 3].
        rows: about how many positions, spread over the images, count for each layer.
        seed: of the choice of positions.
    """
    made = {path.producer: path for path in paths}
    readers = [merged.get_layer(path.consumer) for path in paths]
    wanted = [
        large.get_layer(made[path.consumer].norm if path.consumer in made else path.consumer).output for path in paths
    ]
    generator = np.random.default_rng(seed)
    places = [_places(output, len(pixels), rows, generator) for output in wanted]
    outputs = _collect(keras.Model(large.input, wanted), [_gather] * len(paths), places, pixels)
    for path, reader, chosen, output in zip(paths, readers, places, outputs, strict=True):
        if path.consumer in made:
            output = output[:, kept[path.consumer]]
        before = keras.Model(merged.input, [reader.input])
        (inputs,) = _collect(before, [functools.partial(_patches, reader)], [chosen], pixels)
        weights = reader.get_weights()
        kernel = weights[0].reshape(-1, weights[0].shape[-1])
        kernel, bias = _solve(inputs, output, kernel, weights[1] if reader.use_bias else None)
        reader.set_weights([kernel.reshape(weights[0].shape)] + ([] if bias is None else [bias]))


def _solve(
    inputs: np.ndarray, outputs: np.ndarray, kernel: np.ndarray, bias: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Returns the kernel and bias nearest to the old ones that map inputs [r, I] to outputs [r, O]."""
    x, y = inputs.astype(np.float64), outputs.astype(np.float64)
    if bias is not None:
        middle, height = x.mean(0), y.mean(0)
        x, y = x - middle, y - height
    gram = x.T @ x
    # The ridge is a share of the mean eigenvalue, so that it means the same for every layer.
    gram[np.diag_indices_from(gram)] += _RIDGE * np.trace(gram) / len(gram) + 1e-12
    change = np.linalg.solve(gram, x.T @ (y - x @ kernel))
    kernel = kernel + change
    if bias is not None:
        bias = (height - middle @ kernel).astype(np.float32)
    return kernel.astype(np.float32), bias


def _places(output: Any, images: int, rows: int, generator: np.random.Generator) -> np.ndarray | None:
    """Returns int [n, p], p positions of each image's map in row-major order; None for a vector."""
    if len(output.shape) != 4:
        return None
    positions = int(output.shape[1] * output.shape[2])
    return generator.integers(0, positions, (images, min(positions, max(1, rows // images))))


def _collect(
    model: keras.Model,
    shapes: Sequence[Callable[[tf.Tensor, np.ndarray | None], tf.Tensor]],
    places: Sequence[np.ndarray | None],
    pixels: np.ndarray,
) -> list[np.ndarray]:
    """Returns for each output of the model its rows at the chosen places, float32 [r, C]."""
    found: list[list[np.ndarray]] = [[] for _ in places]
    for start in range(0, len(pixels), _BATCH):
        batch = slice(start, start + _BATCH)
        outputs = stacks.listed(model(pixels[batch], training=False))
        for values, output, shape, chosen in zip(found, outputs, shapes, places, strict=True):
            rows = shape(tf.cast(output, tf.float32), None if chosen is None else chosen[batch])
            values.append(np.asarray(rows).reshape(-1, rows.shape[-1]))
    return [np.concatenate(values) for values in found]


def _gather(maps: tf.Tensor, places: np.ndarray | None) -> tf.Tensor:
    if places is None:
        return maps
    return tf.gather(tf.reshape(maps, (maps.shape[0], -1, maps.shape[-1])), places, axis=1, batch_dims=1)


def _patches(reader: keras.layers.Layer, maps: tf.Tensor, places: np.ndarray | None) -> tf.Tensor:
    """Returns what the reader sees at its output positions: [b, p, k_h k_w C], or the vectors of a dense layer."""
    if places is None:
        return maps
    sizes, strides = [1, *reader.kernel_size, 1], [1, *reader.strides, 1]
    return _gather(tf.image.extract_patches(maps, sizes, strides, [1] * 4, reader.padding.upper()), places)
