"""What every loss of the library shares: the thin Keras class over a pure function, masks, and means over nothing."""

from collections.abc import Callable
from typing import Any, ClassVar

import keras
import tensorflow as tf

from kdistill.errors import ArgumentError
from kdistill.facts.losses import checked_options, facts_of

Function = Callable[..., tf.Tensor]

NEVER = -1e9
"""The score of what cannot be chosen: its exponential is 0, and unlike infinity it leaves no NaN behind."""


class DistillationLoss(keras.losses.Loss):
    """A Keras loss that hands its options to a pure function.

    A subclass that names itself (`known_as`) is one of `kdistill.facts.losses`, which says what it needs and checks its
    options; any other says so itself by the attributes.

    Attributes:
        known_as: the name among the facts; empty for a loss that is not among them.
        function: the pure function f(y_true, y_pred, *, mask=None, **options) -> float32 scalar.
        needs_labels: y_true is int [B] class labels instead of the teacher's vectors [N, Dt].
        needs_equal_dims: y_true and y_pred must have the same last dimension.
        joint: `mask` is the bool [A, N] of `pair_mask`, and rows may be mixtures or past rows of a bank.
        banks: the same mask, and rows may be past rows of a bank but no mixtures.
    """

    known_as: ClassVar[str] = ""
    function: ClassVar[Function]
    needs_labels: bool = False
    needs_equal_dims: bool = False
    joint: bool = False
    banks: bool = False

    def __init_subclass__(cls, *, known_as: str = "", **kwargs: Any) -> None:
        """Takes what the facts say about the loss of that name."""
        super().__init_subclass__(**kwargs)
        if known_as:
            facts = facts_of(known_as)
            cls.known_as = known_as
            cls.joint, cls.banks = facts.joint, facts.banks
            cls.needs_labels, cls.needs_equal_dims = facts.needs_labels, facts.needs_equal_dims

    def __init__(self, options: dict[str, Any], *, name: str, **kwargs: Any) -> None:
        """Keeps the options.

        Args:
            options: keyword arguments of the pure function.
            name: of the loss in logs.
            **kwargs: of keras.losses.Loss.

        Raises:
            ArgumentError: an option that is of another kind or out of its range.
        """
        kwargs.setdefault("reduction", "sum_over_batch_size")
        super().__init__(name=name, **kwargs)
        self.options: dict[str, Any] = dict(checked_options(self.known_as, options) if self.known_as else options)

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor, mask: tf.Tensor | None = None) -> tf.Tensor:
        """Returns the float32 scalar of the pure function."""
        return type(self).function(y_true, y_pred, mask=mask, **self.options)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the subclass's `__init__`."""
        return {**super().get_config(), **self.options}


def check_equal_dims(loss: str, y_true: tf.Tensor, y_pred: tf.Tensor) -> None:
    """Compares the last dimensions.

    Raises:
        ArgumentError: they differ.
    """
    if y_true.shape[-1] != y_pred.shape[-1]:
        raise ArgumentError(
            f"{loss} compares vectors coordinate by coordinate: the student has {y_pred.shape[-1]} dimensions and the "
            f"teacher {y_true.shape[-1]}; use a learned projection or another loss"
        )


def anchors_and_mask(rows: tf.Tensor, mask: tf.Tensor | None) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns int32 A and the bool [A, N] mask of pairs; without a mask, every row against every other row."""
    if mask is None:
        count = tf.shape(rows)[0]
        return count, ~tf.eye(count, dtype=tf.bool)
    return tf.shape(mask)[0], mask


def with_own(mask: tf.Tensor) -> tf.Tensor:
    """Returns the bool [A, N] mask with each anchor's own row beside the others that it may be compared with."""
    return mask | tf.eye(tf.shape(mask)[0], tf.shape(mask)[1], dtype=tf.bool)


def masked_sum(values: tf.Tensor, mask: tf.Tensor, axis: int | None = None) -> tf.Tensor:
    """Returns the sum of float32 values where the bool mask holds; masked values get no gradient."""
    return tf.reduce_sum(tf.where(mask, values, 0.0), axis=axis)


def masked_mean(values: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """Returns the mean of float32 values where the bool mask holds, 0 with gradient 0 where it holds nowhere."""
    count = tf.reduce_sum(tf.cast(mask, tf.float32))
    return tf.math.divide_no_nan(masked_sum(values, mask), count)
