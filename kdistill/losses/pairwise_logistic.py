"""Pairwise logistic ranking: of two gallery rows, the one nearer to the teacher's anchor is nearer to the student's."""

from typing import Any

import keras
import tensorflow as tf

from kdistill.layers.geometry import similarities
from kdistill.losses.base import (
    NEVER,
    DistillationLoss,
    anchors_and_mask,
    masked_sum,
)


def pairwise_logistic(
    y_true: tf.Tensor,
    y_pred: tf.Tensor,
    *,
    mask: tf.Tensor | None = None,
    student_temperature: float = 0.05,
    offsets: int = 8,
    similarity: str = "cosine",
) -> tf.Tensor:
    """Returns the mean of log(1 + exp(-(f_g - f_h))) over pairs that the teacher puts in the order g, h.

    f is the student's similarity to the anchor over the temperature, and each pair weighs as much as the gap of the
    teacher's similarities: a near tie teaches little. The logistic is that of RankNet (Burges et al., ICML 2005), the
    weight is our reading. All pairs of all anchors would be cubic, so a row is compared with the rows 1, 2, 4, ...,
    2^(offsets-1) places behind it in the teacher's order: near and far alike, A x N x offsets in all.

    Args:
        y_true: [N, Dt], the teacher's rows.
        y_pred: [N, Ds], the student's rows.
        mask: bool [A, N], which gallery rows each of the first A rows ranks; None for all others.
        student_temperature: of the student's similarities, above 0.
        offsets: how many rows behind it each row is compared with.
        similarity: "cosine", or "dot" to keep what the norms of unnormalised mixtures say.
    """
    anchors, mask = anchors_and_mask(y_pred, mask)
    teacher = tf.where(mask, tf.stop_gradient(similarities(y_true[:anchors], y_true, similarity)), NEVER)
    teacher, order = tf.math.top_k(teacher, tf.shape(teacher)[1])
    # Masked columns come last, so a pair counts when its second row does; similarities are never so low.
    counted = teacher > NEVER / 2
    student = similarities(y_pred[:anchors], y_pred, similarity) / student_temperature
    student = tf.gather(student, order, batch_dims=1)

    loss = tf.zeros(())
    weight = tf.zeros(())
    for offset in (2**power for power in range(offsets)):
        gap = tf.where(counted[:, offset:], teacher[:, :-offset] - teacher[:, offset:], 0.0)
        lead = student[:, :-offset] - student[:, offset:]
        loss += masked_sum(gap * tf.nn.softplus(-lead), counted[:, offset:])
        weight += tf.reduce_sum(gap)
    return tf.math.divide_no_nan(loss, weight)


@keras.saving.register_keras_serializable(package="kdistill")
class PairwiseLogistic(DistillationLoss, known_as="pairwise_logistic"):
    """Keras form of `pairwise_logistic`."""

    function = staticmethod(pairwise_logistic)

    def __init__(
        self,
        student_temperature: float = 0.05,
        offsets: int = 8,
        similarity: str = "cosine",
        name: str = "pairwise_logistic",
        **kwargs: Any,
    ) -> None:
        """Takes the options of `pairwise_logistic`."""
        options = {
            "student_temperature": student_temperature,
            "offsets": offsets,
            "similarity": similarity,
        }
        super().__init__(options, name=name, **kwargs)
