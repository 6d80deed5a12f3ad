"""Softmax over similarities: the student's distribution over the gallery follows the teacher's."""

from typing import Any

import keras
import tensorflow as tf

from kdistill.layers.geometry import similarities
from kdistill.losses.base import (
    NEVER,
    DistillationLoss,
    anchors_and_mask,
    masked_mean,
    masked_sum,
)


def softmax_ranking(
    y_true: tf.Tensor,
    y_pred: tf.Tensor,
    *,
    mask: tf.Tensor | None = None,
    teacher_temperature: float = 0.05,
    student_temperature: float = 0.05,
    similarity: str = "cosine",
) -> tf.Tensor:
    """Returns the mean over anchors of KL(p || q), with p and q softmaxes of similarities to the gallery.

        p_ag = softmax_g(<t_a, t_g> / teacher_temperature),   q_ag = softmax_g(<s_a, s_g> / student_temperature)

    The top-one form of ListNet (Cao et al., ICML 2007) with the teacher's similarities as scores; KL differs from its
    cross-entropy by the teacher's entropy, so a student that follows perfectly has loss 0.

    Args:
        y_true: [N, Dt], the teacher's rows.
        y_pred: [N, Ds], the student's rows.
        mask: bool [A, N], which gallery rows each of the first A rows ranks; None for all others.
        teacher_temperature: of p, above 0.
        student_temperature: of q, above 0.
        similarity: "cosine", or "dot" to keep what the norms of unnormalised mixtures say.
    """
    anchors, mask = anchors_and_mask(y_pred, mask)
    teacher = similarities(y_true[:anchors], y_true, similarity) / teacher_temperature
    student = similarities(y_pred[:anchors], y_pred, similarity) / student_temperature
    log_p = tf.stop_gradient(tf.nn.log_softmax(tf.where(mask, teacher, NEVER)))
    log_q = tf.nn.log_softmax(tf.where(mask, student, NEVER))
    divergence = masked_sum(tf.exp(log_p) * (log_p - log_q), mask, axis=1)
    return masked_mean(divergence, tf.reduce_any(mask, axis=1))


@keras.saving.register_keras_serializable(package="kdistill")
class SoftmaxRanking(DistillationLoss, known_as="softmax_ranking"):
    """Keras form of `softmax_ranking`."""

    function = staticmethod(softmax_ranking)

    def __init__(
        self,
        teacher_temperature: float = 0.05,
        student_temperature: float = 0.05,
        similarity: str = "cosine",
        name: str = "softmax_ranking",
        **kwargs: Any,
    ) -> None:
        """Takes the options of `softmax_ranking`."""
        options = {
            "teacher_temperature": teacher_temperature,
            "student_temperature": student_temperature,
            "similarity": similarity,
        }
        super().__init__(options, name=name, **kwargs)
