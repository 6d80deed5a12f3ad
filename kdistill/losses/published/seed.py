"""SEED: a student's similarities to a queue of the teacher's vectors follow the teacher's own."""

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


def seed(
    y_true: tf.Tensor,
    y_pred: tf.Tensor,
    *,
    mask: tf.Tensor | None = None,
    teacher_temperature: float = 0.01,
    student_temperature: float = 0.2,
) -> tf.Tensor:
    """Returns the mean over anchors of KL(p || q) over the queue and the anchor's own teacher vector.

        p = softmax_g(cos(t_a, t_g) / teacher_temperature),   q = softmax_g(cos(s_a, t_g) / student_temperature)

    Fang et al., "SEED: Self-supervised Distillation for Visual Representation" (ICLR 2021, arXiv 2101.04731); the
    temperatures are theirs. KL differs from their cross-entropy by the teacher's entropy, which moves nothing. Their
    queue holds teacher vectors of earlier batches; here it is the bank's, and the other rows of the batch, whose
    vectors are known as well, stand beside it. Both sides are compared with teacher vectors, so dimensions must be
    equal.

    Args:
        y_true: [N, D], the teacher's rows: those of the batch, then those of the queue.
        y_pred: [N, D], the student's rows.
        mask: bool [A, N], rows of the queue for each of the first A rows, whose own vector takes part in any case;
            None for all others. Rows without any other do not count.
        teacher_temperature: of p, above 0.
        student_temperature: of q, above 0.

    Raises:
        ArgumentError: the dimensions differ.
    """
    check_equal_dims("seed", y_true, y_pred)
    anchors, mask = anchors_and_mask(y_pred, mask)
    queue = with_own(mask)
    # Nothing flows into the teacher's side.
    y_true = tf.stop_gradient(y_true)
    teacher = similarities(y_true[:anchors], y_true, "cosine") / teacher_temperature
    student = similarities(y_pred[:anchors], y_true, "cosine") / student_temperature
    log_p = tf.nn.log_softmax(tf.where(queue, teacher, NEVER))
    log_q = tf.nn.log_softmax(tf.where(queue, student, NEVER))
    divergence = masked_sum(tf.exp(log_p) * (log_p - log_q), queue, axis=1)
    return masked_mean(divergence, tf.reduce_any(mask, axis=1))


@keras.saving.register_keras_serializable(package="kdistill")
class SEED(DistillationLoss, known_as="seed"):
    """Keras form of `seed`."""

    function = staticmethod(seed)

    def __init__(
        self,
        teacher_temperature: float = 0.01,
        student_temperature: float = 0.2,
        name: str = "seed",
        **kwargs: Any,
    ) -> None:
        """Takes the options of `seed`."""
        options = {"teacher_temperature": teacher_temperature, "student_temperature": student_temperature}
        super().__init__(options, name=name, **kwargs)
