"""Probabilistic knowledge transfer: the chance of picking a neighbour, in proportion to a cosine kernel."""

from typing import Any

import keras
import tensorflow as tf

from kdistill.geometry import similarities
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
    divergence = masked_sum(p * tf.math.log((p + _EPSILON) / (q + _EPSILON)), mask, axis=1)
    return masked_mean(divergence, tf.reduce_any(mask, axis=1))


def _probabilities(rows: tf.Tensor, anchors: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    kernel = tf.where(mask, (1.0 + similarities(rows[:anchors], rows, "cosine")) / 2.0, 0.0)
    kernel = tf.maximum(kernel, 0.0)
    return kernel / (tf.reduce_sum(kernel, axis=1, keepdims=True) + _EPSILON)


@keras.saving.register_keras_serializable(package="kdistill")
class PKT(DistillationLoss):
    """Keras form of `pkt`."""

    function = staticmethod(pkt)

    def __init__(self, name: str = "pkt", **kwargs: Any) -> None:
        """Takes no options."""
        super().__init__({}, name=name, **kwargs)
