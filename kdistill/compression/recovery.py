"""The trainer of a student that was cut: beside ranking, its layers learn to give what they gave before the cut."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from kdistill.compression.paths import ChannelPath
from kdistill.distiller import Distiller, scaled, unscaled

_EMBEDDING_WEIGHT = 5.0
"""Of 1 - cosine of the embeddings beside the mean over layers, whose terms start near 1 and it near 0.2."""


class RecoveringDistiller(Distiller):
    """A `Distiller` of a merged student that also follows the large one it was cut from.

        loss = joint-space loss + recovery (mean over layers of |y - Y|² / |Y - mean Y|² + 5 (1 - cos(s, S)))

    where y and Y are what a layer of the small and the large student gives for the same view, and s and S their
    embeddings. Channels of residual streams are never cut, so the layers that write them can be compared number by
    number. The large student is ours, not the black box: this costs no question. The idea is that of hints (Romero et
    al., ICLR 2015, arXiv 1412.6550); it is no part of CDD. It trains and is not serialised.
    """

    def __init__(
        self,
        student: keras.Model,
        *,
        large: keras.Model,
        paths: Sequence[ChannelPath],
        recovery: float = 1.0,
        **kwargs: Any,
    ) -> None:
        """Holds the students.

        Args:
            student: of `merge`.
            large: the student before compactors went in; it is not trained.
            paths: of `large`; the readers whose own channels are not cut are compared.
            recovery: weight of following, at least 0.
            **kwargs: of Distiller.
        """
        super().__init__(student, **kwargs)
        self.recovery = recovery
        cut = {path.producer for path in paths}
        names = [path.consumer for path in paths if path.consumer not in cut]
        self.watched = keras.Model(student.input, [student.output, *(student.get_layer(n).output for n in names)])
        before = keras.Model(large.input, [large.output, *(large.get_layer(n).output for n in names)])
        # A function hides the large student from the weights of this model.
        self._before = lambda images: before(images, training=False)

    def update_step(self, data: Any) -> tf.Tensor:
        """One step: both students forward, rank, compare, update the small one. Returns the loss."""
        images, targets = data[:2]
        wanted = self._before(images)
        with tf.GradientTape() as tape:
            given = self.watched(images, training=True)
            loss = self.joint_loss(targets, given[0], training=True) + sum(self.student.losses)
            loss += self.recovery * distance(given, wanted)
            objective = scaled(loss / tf.distribute.get_strategy().num_replicas_in_sync, self.optimizer)
        variables = self.trainable_variables
        gradients = unscaled(tape.gradient(objective, variables), self.optimizer)
        self.optimizer.apply_gradients(zip(gradients, variables, strict=True))
        return loss


def distance(given: Sequence[tf.Tensor], wanted: Sequence[tf.Tensor]) -> tf.Tensor:
    """Returns how far a student is from another on one batch, a float32 scalar.

    Args:
        given: embeddings [B, D] of unit norm, then what layers give, [B, ..., C] each.
        wanted: the same of the other student.
    """
    shares = []
    for small, large in zip(given[1:], wanted[1:], strict=True):
        small, large = tf.cast(small, tf.float32), tf.cast(large, tf.float32)
        spread = tf.reduce_mean(tf.math.reduce_variance(large, list(range(len(large.shape) - 1))))
        shares.append(tf.reduce_mean(tf.square(small - large)) / tf.maximum(spread, 1e-12))
    cosines = tf.reduce_sum(tf.cast(given[0], tf.float32) * tf.cast(wanted[0], tf.float32), axis=-1)
    layers = tf.add_n(shares) / len(shares) if shares else 0.0
    return layers + _EMBEDDING_WEIGHT * tf.reduce_mean(1.0 - cosines)
