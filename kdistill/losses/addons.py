"""Losses of tensorflow-addons, called on what a batch of the trainer has."""

import functools
import inspect
from typing import Any

import keras
import tensorflow as tf

from kdistill import stacks
from kdistill.errors import ArgumentError
from kdistill.facts.losses import ADDONS_PREFIX
from kdistill.layers.geometry import safe_sqrt, similarities, squared_distances
from kdistill.losses.base import DistillationLoss, masked_mean

_EMBEDDINGS = (
    "TripletSemiHardLoss",
    "TripletHardLoss",
    "LiftedStructLoss",
    "triplet_semihard_loss",
    "triplet_hard_loss",
    "lifted_struct_loss",
)
_PAIRS = ("ContrastiveLoss", "contrastive_loss")
_SIMILARITIES = ("NpairsLoss", "npairs_loss")
_MULTI_HOT = ("NpairsMultilabelLoss", "npairs_multilabel_loss")


@keras.saving.register_keras_serializable(package="kdistill")
class AddonsLoss(DistillationLoss):
    """A loss that tensorflow-addons registers, class or function, by its registered name.

    Its metric losses take labels: triplet and lifted-structure losses get (labels, embeddings), the contrastive loss
    the equality of labels and the distance of every pair of rows, the N-pairs losses labels and the matrix of
    similarities. Every other one compares the teacher's vectors with the student's, like any Keras loss, and needs
    equal dimensions.
    """

    def __init__(self, registered_name: str, options: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Resolves the name.

        Args:
            registered_name: "Addons>...".
            options: of that loss.
            **kwargs: of keras.losses.Loss.

        Raises:
            ArgumentError: the package does not import here, no such loss, or options that it does not take.
        """
        options = options or {}
        found = stacks.addon(registered_name)
        self.kind = registered_name.removeprefix(ADDONS_PREFIX)
        is_class = inspect.isclass(found)
        if is_class != (self.kind[0].isupper()) or (is_class and not issubclass(found, keras.losses.Loss)):
            raise ArgumentError(f"{registered_name!r} is not a loss")
        # Its classes accept any keyword and fail at the first batch, so their names are checked here.
        known = set(inspect.signature(found).parameters) - {"self", "kwargs", "y_true", "y_pred"}
        if unknown := set(options) - known:
            raise ArgumentError(
                f"loss {registered_name!r} takes the options {', '.join(sorted(known))}; "
                f"{', '.join(sorted(unknown))} was given"
            )
        # `call` instead of calling: the mean over the batch is taken here, also under tf.distribute.
        self.values = found(**options).call if is_class else functools.partial(found, **options)
        kwargs.setdefault("name", self.kind)
        super().__init__({"registered_name": registered_name, "options": options}, **kwargs)
        self.needs_labels = self.kind in _EMBEDDINGS + _PAIRS + _SIMILARITIES + _MULTI_HOT
        self.needs_equal_dims = not self.needs_labels

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor, mask: tf.Tensor | None = None) -> tf.Tensor:
        """Returns the float32 scalar of the wrapped loss.

        Args:
            y_true: int [B] labels, or [B, D] teacher rows.
            y_pred: [B, D], the student's rows.
            mask: must be None: these losses take none.

        Raises:
            ArgumentError: a mask was given.
        """
        if mask is not None:
            raise ArgumentError(f"loss {self.name!r} takes no mask")
        y_pred = tf.cast(y_pred, tf.float32)
        if not self.needs_labels:
            return _mean(self.values(tf.cast(y_true, tf.float32), y_pred))
        labels = tf.reshape(y_true, [-1])
        if self.kind in _EMBEDDINGS:
            return _mean(self.values(labels, y_pred))
        if self.kind in _SIMILARITIES:
            return _mean(self.values(labels, similarities(y_pred, y_pred, "dot")))
        same = labels[:, None] == labels[None, :]
        if self.kind in _MULTI_HOT:
            # A class is named by the first row that has it: as many columns as rows, whatever the labels are.
            first = tf.argmax(tf.cast(same, tf.int32), axis=1)
            return _mean(self.values(tf.one_hot(first, tf.shape(labels)[0]), similarities(y_pred, y_pred, "dot")))
        distances = safe_sqrt(squared_distances(y_pred, y_pred))
        pairs = ~tf.eye(tf.shape(labels)[0], dtype=tf.bool)
        return masked_mean(self.values(tf.cast(same, tf.float32), distances), pairs)


def _mean(values: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean(tf.cast(values, tf.float32))
