"""Contextual similarity distillation: a student's row among the teacher's neighbours."""

from typing import Any

import keras
import tensorflow as tf

from kdistill.layers.geometry import similarities
from kdistill.losses.base import (
    NEVER,
    DistillationLoss,
    anchors_and_mask,
    check_equal_dims,
    masked_mean,
    masked_sum,
    with_own,
)


def csd(
    y_true: tf.Tensor,
    y_pred: tf.Tensor,
    *,
    mask: tf.Tensor | None = None,
    top_k: int = 32,
    teacher_temperature: float = 0.01,
    student_temperature: float = 1.0,
) -> tf.Tensor:
    """Returns the mean over anchors of KL(p || q) over the teacher's `top_k` nearest rows, the anchor's own first.

        p = softmax(cos(t_a, t_g) / teacher_temperature),   q = softmax(cos(s_a, t_g) / student_temperature)

    Wu et al., "Contextual Similarity Distillation for Asymmetric Image Retrieval" (CVPR 2022). The gallery is the
    teacher's on both sides, so dimensions must be equal, and a row's own teacher vector is its first neighbour. There
    the neighbours come from a large training gallery; here they come from the rows given: the batch, and behind it a
    bank, which with room for two passes over the images holds nearly all teacher vectors there are. The temperatures
    are those of a public re-implementation: we have not read them in the paper.

    Args:
        y_true: [N, D], the teacher's rows.
        y_pred: [N, D], the student's rows.
        mask: bool [A, N], other gallery rows for each of the first A rows, whose own vector belongs to its gallery in
            any case; None for all others. Rows without any other do not count.
        top_k: neighbours that count; all of them where there are fewer.
        teacher_temperature: of p, above 0.
        student_temperature: of q, above 0.

    Raises:
        ArgumentError: the dimensions differ.
    """
    check_equal_dims("csd", y_true, y_pred)
    anchors, mask = anchors_and_mask(y_pred, mask)
    padding = [[0, 0], [0, top_k]]
    teacher = tf.where(with_own(mask), tf.stop_gradient(similarities(y_true[:anchors], y_true, "cosine")), NEVER)
    best, order = tf.math.top_k(tf.pad(teacher, padding, constant_values=NEVER), top_k)
    listed = best > NEVER / 2
    student = tf.pad(similarities(y_pred[:anchors], tf.stop_gradient(y_true), "cosine"), padding)
    chosen = tf.gather(student, order, batch_dims=1)
    log_p = tf.nn.log_softmax(tf.where(listed, best / teacher_temperature, NEVER))
    log_q = tf.nn.log_softmax(tf.where(listed, chosen / student_temperature, NEVER))
    divergence = masked_sum(tf.exp(log_p) * (log_p - log_q), listed, axis=1)
    return masked_mean(divergence, tf.reduce_any(mask, axis=1))


@keras.saving.register_keras_serializable(package="kdistill")
class CSD(DistillationLoss, known_as="csd"):
    """Keras form of `csd`."""

    function = staticmethod(csd)

    def __init__(
        self,
        top_k: int = 32,
        teacher_temperature: float = 0.01,
        student_temperature: float = 1.0,
        name: str = "csd",
        **kwargs: Any,
    ) -> None:
        """Takes the options of `csd`."""
        options = {
            "top_k": top_k,
            "teacher_temperature": teacher_temperature,
            "student_temperature": student_temperature,
        }
        super().__init__(options, name=name, **kwargs)
