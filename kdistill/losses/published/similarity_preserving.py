"""Similarity-preserving distillation: the rows of the batch's Gram matrix, each as a direction."""

from typing import Any

import keras
import tensorflow as tf

from kdistill.layers.geometry import l2_normalise, similarities
from kdistill.losses.base import DistillationLoss


def similarity_preserving(y_true: tf.Tensor, y_pred: tf.Tensor, *, mask: tf.Tensor | None = None) -> tf.Tensor:
    """Returns |G_T - G_S|^2 / N^2 (squared Frobenius norm), G the Gram matrix with each row of unit norm.

    Tung & Mori, "Similarity-Preserving Knowledge Distillation" (ICCV 2019), equations 1 to 4. There the paper takes
    activations of a layer and a weight of 3000; here it is the final representation, and the weight is the trainer's.

    Args:
        y_true: [N, Dt], the teacher's rows.
        y_pred: [N, Ds], the student's rows.
        mask: bool [A, N], pairs that count, with the first A rows as anchors; None for all, a row with itself too.
    """
    count = tf.shape(y_pred)[0]
    if mask is None:
        mask = tf.fill((count, count), True)
    teacher, student = (_gram_rows(rows, mask) for rows in (y_true, y_pred))
    squared = tf.reduce_sum(tf.square(student - tf.stop_gradient(teacher)))
    return tf.math.divide_no_nan(squared, tf.reduce_sum(tf.cast(mask, tf.float32)))


def _gram_rows(rows: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    return l2_normalise(tf.where(mask, similarities(rows[: tf.shape(mask)[0]], rows, "dot"), 0.0))


@keras.saving.register_keras_serializable(package="kdistill")
class SimilarityPreserving(DistillationLoss, known_as="similarity_preserving"):
    """Keras form of `similarity_preserving`."""

    function = staticmethod(similarity_preserving)

    def __init__(self, name: str = "similarity_preserving", **kwargs: Any) -> None:
        """Takes no options."""
        super().__init__({}, name=name, **kwargs)
