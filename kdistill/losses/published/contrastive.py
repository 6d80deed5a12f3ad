"""Contrastive loss with class labels: the supervised reference."""

from typing import Any

import keras
import tensorflow as tf

from kdistill.layers.geometry import safe_sqrt, squared_distances
from kdistill.losses.base import DistillationLoss, anchors_and_mask, masked_sum


def contrastive(
    y_true: tf.Tensor, y_pred: tf.Tensor, *, mask: tf.Tensor | None = None, margin: float = 0.7
) -> tf.Tensor:
    """Returns the sum over unordered pairs of d^2 / 2 for equal labels and max(0, margin - d)^2 / 2 for others.

    Hadsell, Chopra, LeCun (CVPR 2006), equation 4, in the form of Radenovic et al. (TPAMI 2018): a sum over pairs,
    d the Euclidean distance of unit vectors, margin 0.7 for small networks and 0.85 for ResNets. There the pairs were
    mined; here they are all pairs of the batch. With past rows behind those of the batch, also all pairs of a row of
    the batch with a past one: the cross-batch memory of Wang et al. (CVPR 2020), who let it start once the network
    drifts slowly; here it starts with the training.

    Args:
        y_true: int [N], class labels.
        y_pred: [N, Ds], the student's rows, meant to be of unit norm.
        mask: bool [A, N], pairs of the first A rows with all; symmetric among the first A. None for all pairs.
        margin: distance beyond which a pair of different labels costs nothing.
    """
    anchors, mask = anchors_and_mask(y_pred, mask)
    labels = tf.reshape(y_true, [-1])
    same = labels[:anchors, None] == labels[None, :]
    squared = squared_distances(y_pred[:anchors], y_pred)
    shortfall = tf.nn.relu(margin - safe_sqrt(squared))
    # An unordered pair of two anchors stands twice in the matrix, one with a past row once.
    weights = tf.where(tf.range(tf.shape(labels)[0]) < anchors, 0.25, 0.5)
    return masked_sum(weights * tf.where(same, squared, tf.square(shortfall)), mask)


@keras.saving.register_keras_serializable(package="kdistill")
class Contrastive(DistillationLoss, known_as="contrastive"):
    """Keras form of `contrastive`."""

    function = staticmethod(contrastive)

    def __init__(self, margin: float = 0.7, name: str = "contrastive", **kwargs: Any) -> None:
        """Takes the options of `contrastive`."""
        super().__init__({"margin": margin}, name=name, **kwargs)
