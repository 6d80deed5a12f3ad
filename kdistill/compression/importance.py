"""Which channels matter: by the teacher's neighbours, by the loss, or by what their reader gives."""

from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf

from kdistill import stacks
from kdistill.compression.insert import compactor_name, compactors
from kdistill.compression.paths import ChannelPath
from kdistill.layers.geometry import l2_normalise

_BATCH = 32


def by_neighbours(
    student: keras.Model, paths: Sequence[ChannelPath], pixels: np.ndarray, teacher: np.ndarray, neighbours: int
) -> dict[str, np.ndarray]:
    """Returns how much each channel makes the teacher's neighbours alike: producer -> float32 [C] of mean 1.

    A path's map, averaged over its positions, is a vector a of C numbers for an image; with unit length, the cosine of
    two images is the sum over c of a_c a'_c. The importance of c is the mean of |a_c a'_c| over all images and their
    nearest neighbours in the teacher's space.

    Source: CDD's retrieval-guided gradient resetting, as its authors' code has it, where a' is the neighbour's vector
    in the same block of the teacher. A black box shows no blocks: here a' is the student's own, and only who is a
    neighbour of whom is the teacher's (our reading).

    Args:
        student: with compactors.
        paths: of the student.
        pixels: uint8 [n, H, W, 3], images with an answer.
        teacher: float32 [n, Dt], their answers.
        neighbours: k, how many of each image count.
    """
    unit = teacher / np.maximum(np.linalg.norm(teacher, axis=1, keepdims=True), 1e-12)
    similarity = unit @ unit.T
    np.fill_diagonal(similarity, -np.inf)
    nearest = np.argsort(-similarity, axis=1, kind="stable")[:, : min(neighbours, len(teacher) - 1)]
    maps = keras.Model(student.input, [_map(student, path) for path in paths])
    found: list[list[np.ndarray]] = [[] for _ in paths]
    for start in range(0, len(pixels), _BATCH):
        outputs = maps(pixels[start : start + _BATCH], training=False)
        for values, output in zip(found, stacks.listed(outputs), strict=True):
            values.append(l2_normalise(tf.reduce_mean(tf.abs(tf.cast(output, tf.float32)), (1, 2))).numpy())
    importance = {}
    for path, values in zip(paths, found, strict=True):
        vectors = np.concatenate(values)
        products = np.einsum("nc,nkc->c", vectors, vectors[nearest]) / max(nearest.size, 1)
        importance[path.producer] = products / max(float(products.mean()), 1e-12)
    return importance


def by_loss(
    student: keras.Model,
    paths: Sequence[ChannelPath],
    pixels: np.ndarray,
    teacher: np.ndarray,
    loss: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
) -> dict[str, np.ndarray]:
    """Returns how much the loss would change without each channel, to first order, squared: producer -> float32 [C].

    For column c of a compactor that is (sum_i kernel_ic gradient_ic)^2, summed over batches (Molchanov et al., CVPR
    2019, equation 8, with a column as the group). The loss ranks in the joint space as the teacher does, so this too is
    what the teacher's neighbours say.

    Args:
        student: with compactors.
        paths: of the student.
        pixels: uint8 [n, H, W, 3], images with an answer.
        teacher: float32 [n, Dt], their answers.
        loss: (teacher [b, Dt], student [b, Ds]) -> scalar.
    """
    inserted = compactors(student, paths)
    kernels = [compactor.kernel for compactor in inserted.values()]

    @tf.function
    def terms(images: tf.Tensor, answers: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            value = loss(answers, student(images, training=False))
        gradients = tape.gradient(value, kernels)
        return [tf.reduce_sum(tf.convert_to_tensor(k) * g, 0) ** 2 for k, g in zip(kernels, gradients, strict=True)]

    sums = [np.zeros(path.channels, np.float64) for path in paths]
    for start in range(0, len(pixels), _BATCH):
        batch = slice(start, start + _BATCH)
        for total, term in zip(sums, terms(tf.constant(pixels[batch]), tf.constant(teacher[batch])), strict=True):
            total += np.asarray(term)
    return dict(zip(inserted, sums, strict=True))


def by_output(student: keras.Model, paths: Sequence[ChannelPath], pixels: np.ndarray) -> dict[str, np.ndarray]:
    """Returns each channel's share of what its reader gives: producer -> float32 [C] of sum 1.

    That is the variance of the channel where the reader takes it, over positions and images, times the squared norm of
    the reader's weights for it. Channels are taken as if they were independent; a constant goes into the reader's bias
    and counts for nothing. Ours, for want of a measure that holds under strong cuts; no part of CDD.

    Args:
        student: with compactors or without.
        paths: of the student.
        pixels: uint8 [n, H, W, 3], any images.
    """
    inputs = keras.Model(student.input, [student.get_layer(path.consumer).input for path in paths])
    sums = [np.zeros((3, path.channels)) for path in paths]
    for start in range(0, len(pixels), _BATCH):
        outputs = inputs(pixels[start : start + _BATCH], training=False)
        for total, output in zip(sums, stacks.listed(outputs), strict=True):
            rows = np.asarray(output, np.float64).reshape(-1, output.shape[-1])
            total += np.stack([np.full(rows.shape[1], len(rows)), rows.sum(0), (rows**2).sum(0)])
    importance = {}
    for path, (count, first, second) in zip(paths, sums, strict=True):
        kernel = np.asarray(student.get_layer(path.consumer).get_weights()[0], np.float64)
        energy = (kernel**2).sum(axis=(*range(kernel.ndim - 2), -1))
        share = np.maximum(second / count - (first / count) ** 2, 0.0) * energy
        importance[path.producer] = (share / max(float(share.sum()), 1e-12)).astype(np.float32)
    return importance


def _map(student: keras.Model, path: ChannelPath) -> tf.Tensor:
    """Returns the symbolic output of the activation behind a compactor, or of the compactor where none follows."""
    if path.followers:
        follower = student.get_layer(path.followers[0])
        if isinstance(follower, keras.layers.ReLU | keras.layers.Activation):
            return follower.output
    return student.get_layer(compactor_name(path)).output
