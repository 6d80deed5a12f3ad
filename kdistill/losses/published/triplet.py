"""Triplet loss with class labels and semi-hard negatives: the second supervised reference."""

from typing import Any

import keras
import tensorflow as tf

from kdistill.layers.geometry import safe_sqrt, squared_distances
from kdistill.losses.base import DistillationLoss, anchors_and_mask, masked_mean

_FAR = 1e9


def triplet_semihard(
    y_true: tf.Tensor, y_pred: tf.Tensor, *, mask: tf.Tensor | None = None, margin: float = 0.2
) -> tf.Tensor:
    """Returns the mean over positive pairs (a, p) of max(0, margin + d(a, p) - d(a, n)).

    n is the nearest row of another class that is farther than p; where none is, the farthest one. Schroff et al.,
    "FaceNet" (CVPR 2015), section 3.2, on Euclidean distances (theirs are squared). Pairs whose anchor sees no other
    class do not count. Negatives are found by sorting, so nothing is cubic in the batch. With past rows behind those of
    the batch, positives and negatives come from these too: the cross-batch memory of Wang et al. (CVPR 2020).

    Args:
        y_true: int [N], class labels.
        y_pred: [N, Ds], the student's rows, meant to be of unit norm.
        mask: bool [A, N], pairs that may be used, with the first A rows as anchors; None for all.
        margin: by how much farther a negative should be.
    """
    anchors, mask = anchors_and_mask(y_pred, mask)
    labels = tf.reshape(y_true, [-1])
    same = labels[:anchors, None] == labels[None, :]
    distances = safe_sqrt(squared_distances(y_pred[:anchors], y_pred))
    negative_distances = tf.where(mask & ~same, distances, _FAR)
    nearest_first = tf.sort(negative_distances, axis=1)
    # How many negatives are not farther than p: the next one is semi-hard, unless all are nearer.
    not_farther = tf.searchsorted(tf.stop_gradient(nearest_first), tf.stop_gradient(distances), side="right")
    negatives = tf.reduce_sum(tf.cast(mask & ~same, tf.int32), axis=1, keepdims=True)
    place = tf.clip_by_value(not_farther, 0, tf.maximum(negatives - 1, 0))
    negative = tf.gather(nearest_first, place, batch_dims=1)
    return masked_mean(tf.nn.relu(margin + distances - negative), mask & same & (negatives > 0))


@keras.saving.register_keras_serializable(package="kdistill")
class TripletSemiHard(DistillationLoss, known_as="triplet_semihard"):
    """Keras form of `triplet_semihard`."""

    function = staticmethod(triplet_semihard)

    def __init__(self, margin: float = 0.2, name: str = "triplet_semihard", **kwargs: Any) -> None:
        """Takes the options of `triplet_semihard`."""
        super().__init__({"margin": margin}, name=name, **kwargs)
