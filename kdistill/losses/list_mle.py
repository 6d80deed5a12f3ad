"""ListMLE: the likelihood, under the student's scores, of the head of the teacher's order."""

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


def list_mle(
    y_true: tf.Tensor,
    y_pred: tf.Tensor,
    *,
    mask: tf.Tensor | None = None,
    top_k: int = 10,
    student_temperature: float = 0.05,
    similarity: str = "cosine",
) -> tf.Tensor:
    """Returns the mean over anchors of the negative log-likelihood of the teacher's top k.

        sum_{r=1..k} ( log sum_{g not among the first r-1} exp(f_g) - f_r ),   f = student similarity / temperature

    ListMLE (Xia et al., ICML 2008) cut after k places (Xia et al., NeurIPS 2009): at each place all rows not yet
    chosen compete, also those behind place k. Only the teacher's order counts, not how far apart its similarities are.

    Args:
        y_true: [N, Dt], the teacher's rows.
        y_pred: [N, Ds], the student's rows.
        mask: bool [A, N], which gallery rows each of the first A rows ranks; None for all others.
        top_k: places that count; an anchor with fewer candidates counts those that it has.
        student_temperature: of the scores, above 0.
        similarity: "cosine", or "dot" to keep what the norms of unnormalised mixtures say.
    """
    anchors, mask = anchors_and_mask(y_pred, mask)
    scores = similarities(y_pred[:anchors], y_pred, similarity) / student_temperature
    # Columns that do not exist, so that there are k to choose from whatever N is.
    scores = tf.pad(tf.where(mask, scores, NEVER), [[0, 0], [0, top_k]], constant_values=NEVER)
    teacher = tf.where(mask, similarities(y_true[:anchors], y_true, similarity), NEVER)
    best, order = tf.math.top_k(tf.pad(teacher, [[0, 0], [0, top_k]], constant_values=NEVER), top_k)
    # Similarities are never so low: this tells candidates from what was masked.
    candidate = best > NEVER / 2

    head = tf.where(candidate, tf.gather(scores, order, batch_dims=1), NEVER)
    width = tf.shape(scores)[1]
    chosen = tf.reduce_any(order[:, :, None] == tf.range(width)[None, None, :], axis=1)
    tail = tf.reduce_logsumexp(tf.where(chosen, NEVER, scores), axis=1)
    # [A, k, k]: at place r the rows of places r.. compete, and the whole tail.
    later = tf.linalg.band_part(tf.ones((top_k, top_k), tf.bool), 0, -1)
    competing = tf.reduce_logsumexp(tf.where(later, head[:, None, :], NEVER), axis=2)
    total = tf.reduce_logsumexp(tf.stack([competing, tf.broadcast_to(tail[:, None], tf.shape(competing))]), axis=0)
    surprise = masked_sum(total - head, candidate, axis=1)
    return masked_mean(surprise, tf.reduce_any(candidate, axis=1))


@keras.saving.register_keras_serializable(package="kdistill")
class ListMLE(DistillationLoss, known_as="list_mle"):
    """Keras form of `list_mle`."""

    function = staticmethod(list_mle)

    def __init__(
        self,
        top_k: int = 10,
        student_temperature: float = 0.05,
        similarity: str = "cosine",
        name: str = "list_mle",
        **kwargs: Any,
    ) -> None:
        """Takes the options of `list_mle`."""
        options = {
            "top_k": top_k,
            "student_temperature": student_temperature,
            "similarity": similarity,
        }
        super().__init__(options, name=name, **kwargs)
