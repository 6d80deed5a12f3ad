"""Losses on what a teacher says that compares: the likelihood of an order, and of preferences.

Unlike the losses of the registry they see no vectors of the teacher. `ListMLEOfOrders` trains a student on batches of
`kdistill.preferences.order_batches`; the two functions train the ranker (`kdistill.assistant.heads`).
"""

from typing import Any

import keras
import tensorflow as tf

from kdistill.facts.losses import ORDERS
from kdistill.layers.geometry import l2_normalise
from kdistill.losses.base import DistillationLoss


def order_surprise(scores: tf.Tensor) -> tf.Tensor:
    """Returns the mean negative log-likelihood of orders, by place: ListMLE (Xia et al., ICML 2008) over k.

        mean over lists of  1/k · sum_{r=1..k} ( log sum_{g >= r} exp(f_g) - f_r )

    The mean over places instead of the sum is ours: the loss then has one scale for short and long lists.

    Args:
        scores: float32 [L, k], f in the teacher's order, the best first.
    """
    competing = tf.math.cumulative_logsumexp(scores, axis=1, reverse=True)
    return tf.reduce_mean(competing - scores)


def preference_surprise(gaps: tf.Tensor, probability: tf.Tensor) -> tf.Tensor:
    """Returns the mean cross-entropy of preferences: the pairwise logistic of RankNet (Burges et al., ICML 2005).

        mean of  p · log(1 + exp(-g)) + (1 - p) · log(1 + exp(g)),   g = f_first - f_second

    Args:
        gaps: float32 [m], g.
        probability: float32 [m], the teacher's p that the first is the better match; a tie of 0.5 pulls g to 0.
    """
    return tf.reduce_mean(probability * tf.nn.softplus(-gaps) + (1.0 - probability) * tf.nn.softplus(gaps))


def list_mle_of_orders(
    y_true: tf.Tensor, y_pred: tf.Tensor, *, mask: tf.Tensor | None = None, student_temperature: float = 0.1
) -> tf.Tensor:
    """Returns `order_surprise` of the lists in a batch, with cosines over the temperature as scores.

    Args:
        y_true: int [B], the place of each row in its list: 0 for the query, then 1, 2, ... for its candidates in the
            teacher's order. Lists are of one length and follow each other.
        y_pred: [B, Ds], the student's rows.
        mask: not used.
        student_temperature: of the scores, above 0.
    """
    starts = tf.equal(tf.reshape(y_true, [-1]), 0)
    lists = tf.reduce_sum(tf.cast(starts, tf.int32))
    rows = l2_normalise(y_pred)
    rows = tf.reshape(rows, [lists, -1, tf.shape(rows)[-1]])
    return order_surprise(tf.einsum("ld,lkd->lk", rows[:, 0], rows[:, 1:]) / student_temperature)


@keras.saving.register_keras_serializable(package="kdistill")
class ListMLEOfOrders(DistillationLoss, known_as=ORDERS):
    """Keras form of `list_mle_of_orders`."""

    function = staticmethod(list_mle_of_orders)

    def __init__(self, student_temperature: float = 0.1, name: str = "list_mle_of_orders", **kwargs: Any) -> None:
        """Takes the options of `list_mle_of_orders`."""
        super().__init__({"student_temperature": student_temperature}, name=name, **kwargs)
