"""Learning from two teachers at once: one that answers for every image, one that was asked about some of them."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kdistill.errors import ArgumentError
from kdistill.layers.geometry import l2_normalise
from kdistill.losses.base import DistillationLoss, anchors_and_mask


def joined_answers(everywhere: np.ndarray, asked: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Returns float32 [n, D1 + D2 + 1], the targets that `TwoSpaces` learns from.

    The parts have unit length, and the last number is 0 where the second teacher answered and 1 elsewhere: so all rows
    are equally long, a mixture of joined rows is the mixture in either space, and only mixtures of two rows that were
    asked about end in 0.

    Args:
        everywhere: float [n, D1], the first teacher's vectors of all images.
        asked: float [m, D2], the second teacher's of some.
        rows: int [m], which images these are.
    """
    joined = np.zeros((len(everywhere), everywhere.shape[1] + asked.shape[1] + 1), np.float32)
    joined[:, : everywhere.shape[1]] = l2_normalise(everywhere)
    joined[:, -1] = 1.0
    joined[rows, everywhere.shape[1] : -1] = l2_normalise(asked)
    joined[rows, -1] = 0.0
    return joined


@keras.saving.register_keras_serializable(package="kdistill")
class TwoSpaces(DistillationLoss):
    """A joint loss over all rows by one teacher, plus the same over the rows that another one was asked about.

        L = loss(rows; first teacher) + weight · loss(rows asked about; second teacher)

    The two teachers' spaces need not have the same dimension: the student learns both rankings in its own space.

    Source: ours.
    """

    joint = True

    def __init__(
        self, loss: DistillationLoss, first_dim: int, weight: float = 0.5, name: str = "two_spaces", **kwargs: Any
    ) -> None:
        """Wraps a loss.

        Args:
            loss: one that ranks over the joint space (`joint`).
            first_dim: D1, of the teacher that answers for all rows.
            weight: of the ranking of the rows that the second teacher was asked about.
            name: of the loss in logs.
            **kwargs: of keras.losses.Loss.

        Raises:
            ArgumentError: a loss that does not rank over the joint space.
        """
        if not getattr(loss, "joint", False):
            raise ArgumentError(
                f"{getattr(loss, 'name', loss)!r} ranks no joint space; two spaces need a loss that does"
            )
        super().__init__({"first_dim": first_dim, "weight": weight}, name=name, **kwargs)
        self.loss, self.first_dim, self.weight = loss, first_dim, weight

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor, mask: tf.Tensor | None = None) -> tf.Tensor:
        """Returns the float32 scalar; `y_true` [N, D1 + D2 + 1] is of `joined_answers`."""
        everywhere = self.loss.call(y_true[:, : self.first_dim], y_pred, mask=mask)
        anchors, pairs = anchors_and_mask(y_pred, mask)
        asked = tf.equal(y_true[:, -1], 0.0)
        among = pairs & asked[:anchors, None] & asked[None, :]
        return everywhere + self.weight * self.loss.call(y_true[:, self.first_dim : -1], y_pred, mask=among)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of `__init__`."""
        return {**super().get_config(), "loss": keras.saving.serialize_keras_object(self.loss)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "TwoSpaces":
        """Returns the loss of a configuration."""
        return cls(**{**config, "loss": keras.saving.deserialize_keras_object(config["loss"])})
