"""Maps from one space to another, fitted to pairs of vectors of the same images: linear, orthogonal, a small network.

What a change of the teacher needs (docs/spaces.md), and what a student in the teacher's space has to beat: these maps
over the frozen features of its backbone.
"""

from collections.abc import Callable, Mapping

import keras
import numpy as np
import tensorflow as tf

from kdistill.errors import KdistillError
from kdistill.layers.geometry import l2_normalise
from kdistill.space.ridge import fit_ridge

Map = Callable[[np.ndarray], np.ndarray]
"""From rows float [n, C] to unit rows float32 [n, D]."""

_WIDTH = 256
_STEPS, _LEARNING_RATE, _DECAY = 300, 1e-3, 1e-4


def ridge(features: np.ndarray, targets: np.ndarray) -> Map:
    """Returns the linear map of `fit_ridge`."""
    return _linear(fit_ridge(features, targets))


def procrustes(features: np.ndarray, targets: np.ndarray) -> Map:
    """Returns the map of orthonormal rows or columns W with the least |X W - T| (Schönemann, 1966).

    Args:
        features: float [n, C].
        targets: float [n, D].

    Raises:
        KdistillError: fewer than two pairs, or not one target a row.
    """
    _check(features, targets)
    left, _, right = np.linalg.svd(np.asarray(features, np.float64).T @ np.asarray(targets, np.float64), False)
    return _linear((left @ right).astype(np.float32))


def residual_mlp(features: np.ndarray, targets: np.ndarray, *, seed: int = 0) -> Map:
    """Returns the ridge map plus a network of one hidden layer, which learns what that leaves, by 1 - cosine.

    After "Drift-Adapter" (arXiv 2509.23471), whose residual network starts at the identity between two models of one
    dimension; ours starts at the ridge map, so that the dimensions may differ: our reading.

    Args:
        features: float [n, C], rows of unit length.
        targets: float [n, D], rows of unit length.
        seed: of the network's start.

    Raises:
        KdistillError: fewer than two pairs, or not one target a row.
    """
    linear = tf.constant(fit_ridge(features, targets))
    random = np.random.default_rng(seed)
    size = features.shape[1]
    hidden = tf.Variable(random.normal(0, size**-0.5, (size, _WIDTH)).astype(np.float32))
    bias, out = tf.Variable(tf.zeros(_WIDTH)), tf.Variable(tf.zeros((_WIDTH, targets.shape[1])))
    weights = [hidden, bias, out]
    optimizer = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(_LEARNING_RATE, _STEPS))
    optimizer.build(weights)
    inputs, wanted = tf.constant(features, tf.float32), tf.constant(targets, tf.float32)

    def mapped(rows: tf.Tensor) -> tf.Tensor:
        return l2_normalise(rows @ linear + tf.nn.gelu(rows @ hidden + bias) @ out)

    @tf.function
    def step() -> None:
        with tf.GradientTape() as tape:
            apart = 1.0 - tf.reduce_mean(tf.reduce_sum(mapped(inputs) * wanted, axis=1))
            loss = apart + _DECAY * (tf.reduce_sum(tf.square(hidden)) + tf.reduce_sum(tf.square(out)))
        optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))

    for _ in range(_STEPS):
        step()
    return lambda rows: mapped(tf.constant(rows, tf.float32)).numpy()


MAPS: Mapping[str, Callable[[np.ndarray, np.ndarray], Map]] = {
    "ridge": ridge,
    "procrustes": procrustes,
    "residual_mlp": residual_mlp,
}
"""Name -> how it is fitted."""


def _linear(matrix: np.ndarray) -> Map:
    return lambda rows: l2_normalise(np.asarray(rows, np.float32) @ matrix).numpy()


def _check(features: np.ndarray, targets: np.ndarray) -> None:
    if len(features) != len(targets) or len(features) < 2:
        raise KdistillError(f"a map is fitted to two pairs or more; {len(features)} and {len(targets)} rows were given")
