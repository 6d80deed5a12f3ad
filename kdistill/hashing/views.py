"""Strongly changed views of a batch, made in the training step from its mildly changed ones."""

import math

import tensorflow as tf

LUMINANCE = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in a grey image (ITU-R BT.601)."""


def strong_views(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Returns one strongly changed view of each image, float32 [B, S, S, 3] from 0 to 255.

    Of each image, drawn anew: a crop of 25 to 100 % of the area with an aspect ratio of 3/4 to 4/3; mirrored half of
    the time; with probability 0.8 brightness, contrast and saturation within 40 % and hue within a tenth of the circle;
    with probability 0.2 grey; with probability 0.5 blurred by a Gaussian of 0.5 to 1.5 pixels.

    The kinds of changes are those of Jang et al. (ECCV 2022), who draw their weak views by the same ones at a lower
    rate; the ranges are ours, and so is that a strong view starts from the weak one.

    Args:
        images: uint8 or float [B, S, S, 3], from 0 to 255.
        seed: int32 [2]; the same seed gives the same views.
    """
    images = tf.cast(images, tf.float32)
    count = tf.shape(images)[0]
    draws = tf.unstack(tf.random.stateless_uniform((13, count), seed))
    views = _crops(images, *draws[:4])
    views = tf.where(_column(draws[4] < 0.5), views[:, :, ::-1], views)
    coloured = _coloured(views, *draws[5:9])
    views = tf.where(_column(draws[9] < 0.8), coloured, views)
    views = tf.where(_column(draws[10] < 0.2), _grey(views), views)
    return tf.where(_column(draws[11] < 0.5), _blurred(views, 0.5 + draws[12]), views)


def _crops(images: tf.Tensor, area: tf.Tensor, ratio: tf.Tensor, top: tf.Tensor, left: tf.Tensor) -> tf.Tensor:
    """Returns crops resized to [B, S, S, 3]; all arguments are uniform draws [B]."""
    size = tf.shape(images)[1:3]
    aspect = tf.exp((2.0 * ratio - 1.0) * math.log(4.0 / 3.0))
    share = 0.25 + 0.75 * area
    height, width = tf.minimum(tf.sqrt(share / aspect), 1.0), tf.minimum(tf.sqrt(share * aspect), 1.0)
    top, left = top * (1.0 - height), left * (1.0 - width)
    boxes = tf.stack([top, left, top + height, left + width], axis=1)
    return tf.image.crop_and_resize(images, boxes, tf.range(tf.shape(images)[0]), size)


def _coloured(
    images: tf.Tensor, brightness: tf.Tensor, contrast: tf.Tensor, saturation: tf.Tensor, hue: tf.Tensor
) -> tf.Tensor:
    images = images * _column(0.6 + 0.8 * brightness)
    mean = tf.reduce_mean(images, axis=(1, 2, 3), keepdims=True)
    images = (images - mean) * _column(0.6 + 0.8 * contrast) + mean
    grey = _grey(images)
    images = (images - grey) * _column(0.6 + 0.8 * saturation) + grey
    return tf.clip_by_value(tf.einsum("bhwc,bcd->bhwd", images, _hue_turns(hue)), 0.0, 255.0)


def _hue_turns(hue: tf.Tensor) -> tf.Tensor:
    """Returns [B, 3, 3], turns of the colour space about its grey axis by up to a tenth of the circle."""
    angle = (2.0 * hue - 1.0) * 0.2 * math.pi
    cosine, sine = tf.cos(angle)[:, None, None], tf.sin(angle)[:, None, None]
    third, root = 1.0 / 3.0, math.sqrt(1.0 / 3.0)
    across = tf.constant([[0.0, root, -root], [-root, 0.0, root], [root, -root, 0.0]])
    return cosine * tf.eye(3) + (1.0 - cosine) * third + sine * across


def _grey(images: tf.Tensor) -> tf.Tensor:
    grey = tf.reduce_sum(images * tf.constant(LUMINANCE), axis=-1, keepdims=True)
    return tf.repeat(grey, 3, axis=-1)


def _blurred(images: tf.Tensor, deviation: tf.Tensor) -> tf.Tensor:
    """Returns the images after a Gaussian of `deviation` [B] pixels, seven wide, edges repeated."""
    offsets = tf.range(-3, 4, dtype=tf.float32)
    weights = tf.exp(-tf.square(offsets) / (2.0 * tf.square(deviation[:, None])))
    weights /= tf.reduce_sum(weights, axis=1, keepdims=True)
    height, width = tf.unstack(tf.shape(images)[1:3])
    padded = tf.pad(images, [[0, 0], [3, 3], [0, 0], [0, 0]], "SYMMETRIC")
    images = tf.add_n([padded[:, i : i + height] * _column(weights[:, i]) for i in range(7)])
    padded = tf.pad(images, [[0, 0], [0, 0], [3, 3], [0, 0]], "SYMMETRIC")
    return tf.add_n([padded[:, :, i : i + width] * _column(weights[:, i]) for i in range(7)])


def _column(values: tf.Tensor) -> tf.Tensor:
    return values[:, None, None, None]
