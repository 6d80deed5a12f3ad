"""DarkRank: the order of an anchor's nearest rows, as a likelihood (hard) or as a distribution over orders (soft)."""

import itertools
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kdistill.layers.geometry import l2_normalise, safe_sqrt, squared_distances
from kdistill.losses.base import NEVER, DistillationLoss, anchors_and_mask, masked_mean, masked_sum


def darkrank(
    y_true: tf.Tensor,
    y_pred: tf.Tensor,
    *,
    mask: tf.Tensor | None = None,
    alpha: float = 3.0,
    beta: float = 3.0,
    top_k: int = 4,
    form: str = "hard",
) -> tf.Tensor:
    """Returns the mean over anchors of the loss on the order of the teacher's `top_k` nearest rows.

    Scores are f = -alpha d^beta, d the Euclidean distance of unit rows. An order has the Plackett-Luce probability of
    its scores: each place is a softmax over the rows of the list not yet placed. "hard" is the negative log-probability
    of the teacher's order under the student's scores, "soft" the KL divergence between the two distributions over all
    orders. Chen, Wang, Zhang, "DarkRank" (AAAI 2018), equations 5 to 8; alpha 3, beta 3 and lists of 4 are theirs. The
    list here is the nearest of the rows given. The equations speak of a query and a list of candidates, wherever these
    come from, so past rows of a bank may be candidates; theirs come from the batch.

    Args:
        y_true: [N, Dt], the teacher's rows.
        y_pred: [N, Ds], the student's rows.
        mask: bool [A, N], which gallery rows each of the first A rows ranks; None for all others.
        alpha: scale of the scores, above 0.
        beta: exponent of the distance, at least 1.
        top_k: length of the list; anchors with fewer candidates use those that they have (hard) or none (soft).
        form: "hard" or "soft".
    """
    anchors, mask = anchors_and_mask(y_pred, mask)
    teacher, student = (_scores(rows, anchors, alpha, beta) for rows in (y_true, y_pred))
    padding = [[0, 0], [0, top_k]]
    teacher = tf.pad(tf.where(mask, tf.stop_gradient(teacher), NEVER), padding, constant_values=NEVER)
    best, order = tf.math.top_k(teacher, top_k)
    listed = best > NEVER / 2
    chosen = tf.where(listed, tf.gather(tf.pad(student, padding), order, batch_dims=1), NEVER)
    if form == "hard":
        return masked_mean(-_log_likelihood(chosen, listed), tf.reduce_any(listed, axis=1))
    orders = np.array(list(itertools.permutations(range(top_k))))
    everything = tf.ones_like(listed)[:, None, :]
    log_p = _log_likelihood(tf.gather(tf.where(listed, best, 0.0), orders, axis=1), everything)
    log_q = _log_likelihood(tf.gather(tf.where(listed, chosen, 0.0), orders, axis=1), everything)
    divergence = tf.reduce_sum(tf.exp(log_p) * (log_p - log_q), axis=1)
    return masked_mean(divergence, tf.reduce_all(listed, axis=1))


def _scores(rows: tf.Tensor, anchors: tf.Tensor, alpha: float, beta: float) -> tf.Tensor:
    rows = l2_normalise(rows)
    return -alpha * tf.pow(safe_sqrt(squared_distances(rows[:anchors], rows)), beta)


def _log_likelihood(ordered: tf.Tensor, listed: tf.Tensor) -> tf.Tensor:
    """Returns the Plackett-Luce log-probability [...] of scores [..., k] being placed in the order given."""
    length = ordered.shape[-1]
    later = tf.linalg.band_part(tf.ones((length, length), tf.bool), 0, -1)
    competing = tf.reduce_logsumexp(tf.where(later, ordered[..., None, :], NEVER), axis=-1)
    return masked_sum(ordered - competing, listed, axis=-1)


@keras.saving.register_keras_serializable(package="kdistill")
class DarkRank(DistillationLoss, known_as="darkrank"):
    """Keras form of `darkrank`."""

    function = staticmethod(darkrank)

    def __init__(
        self,
        alpha: float = 3.0,
        beta: float = 3.0,
        top_k: int = 4,
        form: str = "hard",
        name: str = "darkrank",
        **kwargs: Any,
    ) -> None:
        """Takes the options of `darkrank`."""
        options = {
            "alpha": alpha,
            "beta": beta,
            "top_k": top_k,
            "form": form,
        }
        super().__init__(options, name=name, **kwargs)
