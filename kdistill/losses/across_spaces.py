"""The joint space across the two: a student's rows rank the teacher's vectors, in the teacher's own space."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kdistill.errors import ArgumentError
from kdistill.layers.geometry import l2_normalise
from kdistill.losses.base import DistillationLoss, anchors_and_mask, check_equal_dims, masked_mean

POINTWISE, OWN = 1.0, 0.0
"""Weights of the pointwise term and of the ranking among the student's own rows; chosen on validation images
(benchmarks/results/NOTES.md)."""


@keras.saving.register_keras_serializable(package="kdistill")
class AcrossSpaces(DistillationLoss):
    """A ranking loss with the teacher's vectors as the gallery on both sides, anchored by a pointwise term.

        L = loss(s_a against all t_g; t_a against all t_g) + pointwise · mean (1 - cos(s_b, t_b)) + own · loss(s; t)

    Anchors a are the student's rows or mixtures of rows, as the mask says. The gallery are the teacher's mixtures of
    this batch and all vectors that are known: the anchor's own one among them, none of them ever stale. The last term
    is the ranking of the student's own space, over the batch, its mixtures and the bank, which symmetric search needs.
    A ranking alone leaves the student's vectors free to stand anywhere with the right order of distances; the
    pointwise term, over the original rows b, ties them to where the teacher's are.

    Any loss that ranks rows against rows under a mask can be taken across: it is given the anchors of either space in
    front of the same gallery.

    Source: our reading of Laskar & Kannala (arXiv 2007.05299) for asymmetric search; the pointwise term is "Reg" of
    Budnik & Avrithis, "Asymmetric Metric Learning for Knowledge Transfer" (CVPR 2021); teacher vectors as the gallery
    of both sides as in CSD (Wu et al., CVPR 2022).
    """

    joint = True
    needs_equal_dims = True
    across = True
    """Whether `call` wants to know which rows are mixtures."""

    def __init__(
        self,
        loss: DistillationLoss,
        known: Any,
        pointwise: float = POINTWISE,
        own: float = OWN,
        name: str = "across_spaces",
        **kwargs: Any,
    ) -> None:
        """Wraps a loss.

        Args:
            loss: one that ranks under a mask (`joint`, or `banks` such as CSD).
            known: float [K, D], the teacher's vectors that are known, with images or without; K may be 0.
            pointwise: weight of the pointwise term.
            own: weight of the ranking among the student's own rows; only for losses over the joint space.
            name: of the loss in logs.
            **kwargs: of keras.losses.Loss.

        Raises:
            ArgumentError: a loss that knows no mask, or known vectors that are no table.
        """
        if not (getattr(loss, "joint", False) or getattr(loss, "banks", False)):
            raise ArgumentError(f"{getattr(loss, 'name', loss)!r} ranks no rows under a mask, so it cannot rank across")
        if own and not getattr(loss, "joint", False):
            raise ArgumentError(f"{loss.name!r} ranks no mixtures, so it cannot rank the student's own rows")
        table = np.asarray(known, np.float32)
        if table.ndim != 2:
            raise ArgumentError(f"known vectors are a table [K, D]; an array of shape {list(table.shape)} was given")
        super().__init__({"pointwise": pointwise, "own": own}, name=name, **kwargs)
        self.loss, self.pointwise, self.own = loss, pointwise, own
        self.known = l2_normalise(table).numpy()

    def call(
        self,
        y_true: tf.Tensor,
        y_pred: tf.Tensor,
        mask: tf.Tensor | None = None,
        originals: tf.Tensor | None = None,
        mixtures: tf.Tensor | int = 0,
    ) -> tf.Tensor:
        """Returns the float32 scalar.

        Args:
            y_true: [N, D], the teacher's rows: B originals, M mixtures, then those of a bank.
            y_pred: [N, D], the student's.
            mask: bool [A, N] of `pair_mask`; None: every row against every other one.
            originals: B; None where all rows are.
            mixtures: M.

        Raises:
            ArgumentError: the dimensions differ.
        """
        check_equal_dims(self.name, y_true, y_pred)
        anchors, pairs = anchors_and_mask(y_pred, mask)
        batch = tf.shape(y_pred)[0] if originals is None else originals
        teacher = tf.stop_gradient(l2_normalise(y_true))
        student = l2_normalise(y_pred)
        known = tf.constant(self.known)
        gallery = tf.concat([teacher[batch : batch + mixtures], known], 0)
        # An anchor that ranks nothing in its own space ranks nothing here: a mixture that does not exist.
        ranks = tf.reduce_any(pairs, axis=1)
        everyone = tf.tile(ranks[:, None], [1, tf.shape(known)[0]])
        nobody = tf.zeros((anchors, anchors), tf.bool)
        across = tf.concat([nobody, pairs[:, batch : batch + mixtures], everyone], 1)
        total = self.loss.call(
            tf.concat([teacher[:anchors], gallery], 0), tf.concat([student[:anchors], gallery], 0), mask=across
        )
        if self.pointwise:
            apart = 1.0 - tf.reduce_sum(student[:batch] * teacher[:batch], axis=1)
            total += self.pointwise * masked_mean(apart, tf.ones_like(apart, tf.bool))
        if self.own:
            total += self.own * self.loss.call(y_true, y_pred, mask=pairs)
        return total

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of `__init__`."""
        inner = keras.saving.serialize_keras_object(self.loss)
        return {**super().get_config(), "loss": inner, "known": self.known.tolist()}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "AcrossSpaces":
        """Returns the loss of a configuration."""
        config = dict(config)
        known = np.asarray(config.pop("known"), np.float32)
        return cls(
            keras.saving.deserialize_keras_object(config.pop("loss")),
            known if known.ndim == 2 else known.reshape(0, 0),
            **config,
        )
