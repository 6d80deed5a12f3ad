"""Relational knowledge distillation: distances between rows, and angles in triangles of rows."""

from typing import Any

import keras
import tensorflow as tf

from kdistill.layers.geometry import l2_normalise, safe_sqrt, squared_distances
from kdistill.losses.base import DistillationLoss, anchors_and_mask, masked_mean


def rkd_distance(
    y_true: tf.Tensor, y_pred: tf.Tensor, *, mask: tf.Tensor | None = None, normalise: bool = True
) -> tf.Tensor:
    """Returns the mean Huber error (delta 1) between the student's and the teacher's relative distances.

    A relative distance is divided by the mean of its own space over the same pairs. Park et al., "Relational Knowledge
    Distillation" (CVPR 2019), equations 5 to 7.

    Args:
        y_true: [N, Dt], the teacher's rows.
        y_pred: [N, Ds], the student's rows.
        mask: bool [A, N], pairs that count, with the first A rows as anchors; None for all pairs of different rows.
        normalise: take distances between directions, as the search does.
    """
    anchors, mask = anchors_and_mask(y_pred, mask)
    if normalise:
        y_true, y_pred = l2_normalise(y_true), l2_normalise(y_pred)
    teacher = _relative_distances(y_true, anchors, mask)
    student = _relative_distances(y_pred, anchors, mask)
    return masked_mean(huber(student - tf.stop_gradient(teacher)), mask)


def _relative_distances(rows: tf.Tensor, anchors: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    distances = safe_sqrt(squared_distances(rows[:anchors], rows))
    return tf.math.divide_no_nan(distances, masked_mean(distances, mask & (distances > 0)))


def rkd_angle(
    y_true: tf.Tensor,
    y_pred: tf.Tensor,
    *,
    mask: tf.Tensor | None = None,
    max_rows: int = 64,
    normalise: bool = True,
) -> tf.Tensor:
    """Returns the mean Huber error (delta 1) between cosines of angles in the student's and the teacher's space.

    For each row as vertex, the angle between the directions to every two other rows: cubic in the rows by definition,
    so at most `max_rows` take part. Park et al. (CVPR 2019), equations 8 to 10.

    Args:
        y_true: [N, Dt], the teacher's rows.
        y_pred: [N, Ds], the student's rows.
        mask: bool [N], rows that take part; None for all.
        max_rows: rows after the first this many are left out.
        normalise: take angles between points on the unit sphere, as the search sees them.
    """
    if mask is None:
        mask = tf.fill((tf.shape(y_pred)[0],), True)
    y_true, y_pred, mask = y_true[:max_rows], y_pred[:max_rows], mask[:max_rows]
    if normalise:
        y_true, y_pred = l2_normalise(y_true), l2_normalise(y_pred)
    error = huber(_angles(y_pred) - tf.stop_gradient(_angles(y_true)))
    other = ~tf.eye(tf.shape(mask)[0], dtype=tf.bool) & mask[:, None] & mask[None, :]
    triangles = other[:, :, None] & other[:, None, :] & other[None, :, :]
    return masked_mean(error, triangles)


def _angles(rows: tf.Tensor) -> tf.Tensor:
    """Returns float32 [A, A, A]: the cosine of the angle at row a between rows b and c."""
    rows = tf.cast(rows, tf.float32)
    directions = l2_normalise(rows[None, :, :] - rows[:, None, :])
    return tf.matmul(directions, directions, transpose_b=True)


def rkd(
    y_true: tf.Tensor,
    y_pred: tf.Tensor,
    *,
    mask: tf.Tensor | None = None,
    distance_weight: float = 1.0,
    angle_weight: float = 2.0,
    max_rows: int = 64,
) -> tf.Tensor:
    """Returns the weighted sum of `rkd_distance` and `rkd_angle`; 1 and 2 are the paper's RKD-DA.

    Args:
        y_true: [N, Dt], the teacher's rows.
        y_pred: [N, Ds], the student's rows.
        mask: bool [N], rows that take part; None for all.
        distance_weight: of the distance term.
        angle_weight: of the angle term.
        max_rows: of the angle term.
    """
    pairs = None if mask is None else mask[:, None] & mask[None, :] & ~tf.eye(tf.shape(mask)[0], dtype=tf.bool)
    return distance_weight * rkd_distance(y_true, y_pred, mask=pairs) + angle_weight * rkd_angle(
        y_true, y_pred, mask=mask, max_rows=max_rows
    )


def huber(error: tf.Tensor) -> tf.Tensor:
    """Returns e^2 / 2 where |e| <= 1 and |e| - 1/2 elsewhere."""
    size = tf.abs(error)
    return tf.where(size <= 1.0, 0.5 * tf.square(error), size - 0.5)


@keras.saving.register_keras_serializable(package="kdistill")
class RKDDistance(DistillationLoss, known_as="rkd_distance"):
    """Keras form of `rkd_distance`, usable over the joint space."""

    function = staticmethod(rkd_distance)

    def __init__(self, normalise: bool = True, name: str = "rkd_distance", **kwargs: Any) -> None:
        """Takes the options of `rkd_distance`."""
        super().__init__({"normalise": normalise}, name=name, **kwargs)


@keras.saving.register_keras_serializable(package="kdistill")
class RKD(DistillationLoss, known_as="rkd"):
    """Keras form of `rkd`: distances and angles, as published; `distance_weight=0` leaves the angles."""

    function = staticmethod(rkd)

    def __init__(
        self,
        distance_weight: float = 1.0,
        angle_weight: float = 2.0,
        max_rows: int = 64,
        name: str = "rkd",
        **kwargs: Any,
    ) -> None:
        """Takes the options of `rkd`."""
        options = {"distance_weight": distance_weight, "angle_weight": angle_weight, "max_rows": max_rows}
        super().__init__(options, name=name, **kwargs)
