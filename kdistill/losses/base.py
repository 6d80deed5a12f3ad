"""What every loss of the library shares: the thin Keras class over a pure function, masks, and means over nothing."""

from collections.abc import Callable
from typing import Any, ClassVar

import keras
import tensorflow as tf

from kdistill.errors import ArgumentError

Function = Callable[..., tf.Tensor]

SIMILARITIES = ("cosine", "dot")

NEVER = -1e9
"""The score of what cannot be chosen: its exponential is 0, and unlike infinity it leaves no NaN behind."""


class DistillationLoss(keras.losses.Loss):
    """A Keras loss that hands its options to a pure function.

    Attributes:
        function: the pure function f(y_true, y_pred, *, mask=None, **options) -> float32 scalar.
        needs_labels: y_true is int [B] class labels instead of the teacher's vectors [N, Dt].
        needs_equal_dims: y_true and y_pred must have the same last dimension.
        joint: `mask` is the bool [A, N] of `pair_mask`, and rows may be mixtures.
    """

    function: ClassVar[Function]
    needs_labels: bool = False
    needs_equal_dims: bool = False
    joint: bool = False

    def __init__(self, options: dict[str, Any], *, name: str, **kwargs: Any) -> None:
        """Keeps the options.

        Args:
            options: keyword arguments of the pure function.
            name: of the loss in logs.
            **kwargs: of keras.losses.Loss.
        """
        kwargs.setdefault("reduction", "sum_over_batch_size")
        super().__init__(name=name, **kwargs)
        self.options = options

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor, mask: tf.Tensor | None = None) -> tf.Tensor:
        """Returns the float32 scalar of the pure function."""
        return type(self).function(y_true, y_pred, mask=mask, **self.options)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the subclass's `__init__`."""
        return {**super().get_config(), **self.options}


def positive(name: str, value: float) -> float:
    """Returns the value as a float.

    Raises:
        ArgumentError: it is not above 0.
    """
    if not value > 0:
        raise ArgumentError(f"{name} must be above 0; {value} was given")
    return float(value)


def one_of(name: str, value: str, choices: tuple[str, ...]) -> str:
    """Returns the value.

    Raises:
        ArgumentError: it is not among the choices.
    """
    if value not in choices:
        raise ArgumentError(f"{name} {value!r} is unknown; choose one of {', '.join(choices)}")
    return value


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


def masked_sum(values: tf.Tensor, mask: tf.Tensor, axis: int | None = None) -> tf.Tensor:
    """Returns the sum of float32 values where the bool mask holds; masked values get no gradient."""
    return tf.reduce_sum(tf.where(mask, values, 0.0), axis=axis)


def masked_mean(values: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """Returns the mean of float32 values where the bool mask holds, 0 with gradient 0 where it holds nowhere."""
    count = tf.reduce_sum(tf.cast(mask, tf.float32))
    return tf.math.divide_no_nan(masked_sum(values, mask), count)
