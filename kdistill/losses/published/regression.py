"""Regression: the student's vector is the teacher's."""

from typing import Any

import keras
import tensorflow as tf

from kdistill.layers.geometry import l2_normalise
from kdistill.losses.base import DistillationLoss, check_equal_dims


def regression(
    y_true: tf.Tensor, y_pred: tf.Tensor, *, mask: tf.Tensor | None = None, normalise: bool = True
) -> tf.Tensor:
    """Returns the mean over rows of the squared distance |s - t|^2, which is 2 - 2 cos(s, t) for unit rows.

    "Reg" of Budnik & Avrithis, "Asymmetric Metric Learning for Knowledge Transfer" (CVPR 2021), there written as the
    negative cosine: the same gradient up to a factor of 2. Where dimensions differ, the student's vector goes through
    a learned projection first, which belongs to the trainer.

    Args:
        y_true: [N, D], the teacher's rows.
        y_pred: [N, D], the student's rows.
        mask: bool [N], rows that count; None for all.
        normalise: compare directions instead of the vectors as they are.

    Raises:
        ArgumentError: the dimensions differ.
    """
    check_equal_dims("regression", y_true, y_pred)
    if normalise:
        y_true, y_pred = l2_normalise(y_true), l2_normalise(y_pred)
    residual = tf.cast(y_pred, tf.float32) - tf.stop_gradient(tf.cast(y_true, tf.float32))
    squared = tf.reduce_sum(tf.square(residual), axis=-1)
    counted = tf.ones_like(squared) if mask is None else tf.cast(mask, tf.float32)
    return tf.math.divide_no_nan(tf.reduce_sum(counted * squared), tf.reduce_sum(counted))


@keras.saving.register_keras_serializable(package="kdistill")
class Regression(DistillationLoss, known_as="regression"):
    """Keras form of `regression`."""

    function = staticmethod(regression)

    def __init__(self, normalise: bool = True, name: str = "regression", **kwargs: Any) -> None:
        """Takes the options of `regression`."""
        super().__init__({"normalise": normalise}, name=name, **kwargs)
