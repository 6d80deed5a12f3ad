"""Probabilistic knowledge transfer: the chance of picking a neighbour, in proportion to a cosine kernel."""

from typing import Any

import keras
import tensorflow as tf

from kdistill.layers.geometry import similarities
from kdistill.losses.base import DistillationLoss, anchors_and_mask, masked_mean, masked_sum

_EPSILON = 1e-7


def pkt(y_true: tf.Tensor, y_pred: tf.Tensor, *, mask: tf.Tensor | None = None) -> tf.Tensor:
    """Returns the mean over anchors of KL(p || q), p and q in proportion to (1 + cosine) / 2.

    Passalis & Tefas, "Learning Deep Representations with Probabilistic Knowledge Transfer" (ECCV 2018), equations 4, 5
    and 8. There the divergence is summed over anchors; the mean keeps it independent of the batch. No parameters.

    Args:
        y_true: [N, Dt], the teacher's rows.
        y_pred: [N, Ds], the student's rows.
        mask: bool [A, N], pairs that count, with the first A rows as anchors; None for all pairs of different rows.
    """
    anchors, mask = anchors_and_mask(y_pred, mask)
    p = tf.stop_gradient(_probabilities(y_true, anchors, mask))
    q = _probabilities(y_pred, anchors, mask)
    # Masked places hold 1, whose logarithm has a finite slope.
    log_ratio = tf.math.log(tf.where(mask, p, 1.0)) - tf.math.log(tf.where(mask, q, 1.0))
    divergence = masked_sum(p * log_ratio, mask, axis=1)
    return masked_mean(divergence, tf.reduce_any(mask, axis=1))


def _probabilities(rows: tf.Tensor, anchors: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    kernel = (1.0 + similarities(rows[:anchors], rows, "cosine")) / 2.0
    # Rows opposite to every other would leave no distribution at all.
    kernel = tf.where(mask, tf.maximum(kernel, _EPSILON), 0.0)
    return tf.math.divide_no_nan(kernel, tf.reduce_sum(kernel, axis=1, keepdims=True))


@keras.saving.register_keras_serializable(package="kdistill")
class PKT(DistillationLoss, known_as="pkt"):
    """Keras form of `pkt`."""

    function = staticmethod(pkt)

    def __init__(self, name: str = "pkt", **kwargs: Any) -> None:
        """Takes no options."""
        super().__init__({}, name=name, **kwargs)
