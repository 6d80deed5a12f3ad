"""Squared errors of Gram matrices: similarities themselves are the target, not their order."""

from typing import Any

import keras
import tensorflow as tf

from kdistill.layers.geometry import l2_normalise, safe_sqrt, similarities
from kdistill.losses.base import (
    DistillationLoss,
    anchors_and_mask,
    check_equal_dims,
    masked_mean,
)


def gram(
    y_true: tf.Tensor, y_pred: tf.Tensor, *, mask: tf.Tensor | None = None, similarity: str = "cosine"
) -> tf.Tensor:
    """Returns the mean over pairs of (<s_a, s_g> - <t_a, t_g>)^2.

    With similarity="dot" on unnormalised mixtures this is a re-weighting of the residual on the originals, A R A^T:
    mixing adds nothing to it.

    Args:
        y_true: [N, Dt], the teacher's rows.
        y_pred: [N, Ds], the student's rows.
        mask: bool [A, N], pairs that count, with the first A rows as anchors; None for all pairs of different rows.
        similarity: "cosine", or "dot".
    """
    anchors, mask = anchors_and_mask(y_pred, mask)
    teacher = tf.stop_gradient(similarities(y_true[:anchors], y_true, similarity))
    student = similarities(y_pred[:anchors], y_pred, similarity)
    return masked_mean(tf.square(student - teacher), mask)


def raml(
    y_true: tf.Tensor,
    y_pred: tf.Tensor,
    *,
    mask: tf.Tensor | None = None,
    cross_weight: float = 1.0,
    self_weight: float = 1.0,
) -> tf.Tensor:
    """Returns the absolute term and two relational ones, of unit rows:

        mean |s - t| + cross_weight mean (S T^T - T T^T)^2 + self_weight mean (S S^T - T T^T)^2

    In the style of RAML: Suma & Tolias, "Large-to-Small Image Resolution Asymmetry in Deep Metric Learning" (WACV
    2023), whose relational terms run over augmented views of one image; here they run over the images of the batch.

    Args:
        y_true: [N, D], the teacher's rows.
        y_pred: [N, D], the student's rows.
        mask: bool [N], rows that count; None for all.
        cross_weight: of similarities between student and teacher.
        self_weight: of similarities within each space.

    Raises:
        ArgumentError: the dimensions differ.
    """
    check_equal_dims("raml", y_true, y_pred)
    if mask is None:
        mask = tf.fill((tf.shape(y_pred)[0],), True)
    teacher, student = tf.stop_gradient(l2_normalise(y_true)), l2_normalise(y_pred)
    distances = safe_sqrt(tf.reduce_sum(tf.square(student - teacher), axis=1))
    pairs = mask[:, None] & mask[None, :]
    target = tf.matmul(teacher, teacher, transpose_b=True)
    cross = tf.square(tf.matmul(student, teacher, transpose_b=True) - target)
    within = tf.square(tf.matmul(student, student, transpose_b=True) - target)
    return masked_mean(distances, mask) + masked_mean(cross_weight * cross + self_weight * within, pairs)


@keras.saving.register_keras_serializable(package="kdistill")
class Gram(DistillationLoss, known_as="gram"):
    """Keras form of `gram`."""

    function = staticmethod(gram)

    def __init__(self, similarity: str = "cosine", name: str = "gram", **kwargs: Any) -> None:
        """Takes the options of `gram`."""
        super().__init__({"similarity": similarity}, name=name, **kwargs)


@keras.saving.register_keras_serializable(package="kdistill")
class RAML(DistillationLoss, known_as="raml"):
    """Keras form of `raml`."""

    function = staticmethod(raml)

    def __init__(self, cross_weight: float = 1.0, self_weight: float = 1.0, name: str = "raml", **kwargs: Any) -> None:
        """Takes the options of `raml`."""
        super().__init__({"cross_weight": cross_weight, "self_weight": self_weight}, name=name, **kwargs)
