"""Losses of binary codes: one view like the other, codes close to -1 and 1, codes close to their class's proxy.

Source of all three: Jang et al., "Deep Hash Distillation for Image Retrieval" (ECCV 2022, arXiv 2112.08816).
"""

import tensorflow as tf

from kdistill.errors import ArgumentError
from kdistill.layers.geometry import l2_normalise, similarities


def self_distillation(weak: tf.Tensor, strong: tf.Tensor) -> tf.Tensor:
    """Returns the float32 mean over rows of 1 - cos(weak, strong); no gradient reaches `weak`.

    The code of a weakly changed view teaches the code of a strongly changed view of the same image. A row of zeros has
    no direction and costs 1.

    Args:
        weak: [B, K], codes of the weakly augmented views, the teacher.
        strong: [B, K], codes of the strongly augmented views.
    """
    cosines = tf.reduce_sum(tf.stop_gradient(l2_normalise(weak)) * l2_normalise(strong), axis=-1)
    return 1.0 - tf.reduce_mean(cosines)


def likelihood_quantisation(codes: tf.Tensor, *, sigma: float = 0.5) -> tf.Tensor:
    """Returns the float32 binary cross-entropy between what each bit is and how likely two Gaussians make it.

        g+ = exp(-(h - 1)² / 2σ²),  g- = exp(-(h + 1)² / 2σ²),  b = 1 where h >= 0, else 0
        loss = mean over rows and bits of H(b, g+) + H(1 - b, g-),   H(b, g) = -b log g - (1 - b) log(1 - g)

    One of the two terms draws the bit to its own mode, the other pushes it away from the other mode. The logs are taken
    of the exponents, so that nothing overflows.

    Args:
        codes: [B, K] between -1 and 1.
        sigma: of both Gaussians, above 0; the paper's is 0.5.
    """
    codes = tf.cast(codes, tf.float32)
    positive = codes >= 0.0
    # |h| is the distance from the other side of 0: by symmetry both terms are functions of |h| alone.
    size = tf.where(positive, codes, -codes)
    log_own = -tf.square(size - 1.0) / (2.0 * sigma**2)
    log_other = -tf.square(size + 1.0) / (2.0 * sigma**2)
    # Of H(b, g+) and H(1 - b, g-), one reads g of the bit's own mode and the other 1 - g of the other mode.
    return -tf.reduce_mean(log_own + tf.math.log(-tf.math.expm1(log_other)))


def proxy_cross_entropy(
    labels: tf.Tensor, codes: tf.Tensor, proxies: tf.Tensor, *, temperature: float = 0.2
) -> tf.Tensor:
    """Returns the float32 mean cross-entropy of softmax(cos(h, proxy) / temperature) with the labels.

    Args:
        labels: int [B] or [B, 1], or of any type [B, C] with any number of classes set, which then share the weight
            equally.
        codes: [B, K].
        proxies: [C, K], one learned code a class.
        temperature: above 0; the paper's is 0.2.

    Raises:
        ArgumentError: labels [B] that are no integers.
    """
    labels = tf.convert_to_tensor(labels)
    logits = similarities(codes, proxies, "cosine") / temperature
    if len(labels.shape) == 1 or (labels.shape[-1] == 1 and proxies.shape[0] != 1):
        if not labels.dtype.is_integer:
            raise ArgumentError(f"class labels [B] are integers; {labels.dtype.name} was given")
        labels = tf.one_hot(tf.cast(tf.reshape(labels, [-1]), tf.int64), tf.shape(proxies)[0])
    labels = tf.cast(labels, tf.float32)
    weights = tf.math.divide_no_nan(labels, tf.reduce_sum(labels, axis=-1, keepdims=True))
    return -tf.reduce_mean(tf.reduce_sum(weights * tf.nn.log_softmax(logits), axis=-1))
