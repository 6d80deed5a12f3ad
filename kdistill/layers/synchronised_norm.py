"""Batch normalisation over the rows of all replicas, for training under a strategy."""

import keras
import tensorflow as tf

from kdistill import stacks


@keras.saving.register_keras_serializable(package="kdistill")
class SynchronisedBatchNormalization(keras.layers.BatchNormalization):
    """Batch normalisation whose statistics in training, and what it remembers, are those of one process.

    Weights, arguments and all that it does outside of training are those of `keras.layers.BatchNormalization`. Keras's
    own `synchronized=True` takes the variance as E[x²] - E[x]², which in float32 loses digits where the mean is far
    from zero, and in Keras 2 it remembers another variance than a single process. Here the variance is the mean of
    (x - E[x])² over all replicas. Every replica must have as many rows as the others; masks and renormalisation are
    not supported.

    `copy_of(student, synchronised=True)` puts it in place for the training and `synchronised=False` takes it out again,
    so that it is in no shipped model.
    """

    def call(self, inputs: tf.Tensor, training: bool | None = None, mask: tf.Tensor | None = None) -> tf.Tensor:
        """Returns the normalised inputs, of the same shape [B, ..., C]."""
        replica = tf.distribute.get_replica_context()
        if not training or not self.trainable or replica is None:
            return super().call(inputs, training=training, mask=mask)
        values = tf.cast(inputs, tf.float64 if inputs.dtype == tf.float64 else tf.float32)
        channel = (self.axis if isinstance(self.axis, int) else self.axis[0]) % len(values.shape)
        others = [axis for axis in range(len(values.shape)) if axis != channel]
        mean = replica.all_reduce("mean", tf.reduce_mean(values, others, keepdims=True))
        centred = values - mean
        variance = replica.all_reduce("mean", tf.reduce_mean(tf.square(centred), others, keepdims=True))
        size = replica.num_replicas_in_sync * tf.size(values)
        self._remember(tf.reshape(mean, [-1]), tf.reshape(variance, [-1]), size)
        factor = tf.math.rsqrt(variance + self.epsilon)
        if self.scale:
            factor *= tf.reshape(tf.cast(self.gamma, values.dtype), tf.shape(factor))
        normalised = centred * factor
        if self.center:
            normalised += tf.reshape(tf.cast(self.beta, values.dtype), tf.shape(factor))
        return tf.cast(normalised, self.compute_dtype)

    def _remember(self, mean: tf.Tensor, variance: tf.Tensor, size: tf.Tensor) -> None:
        """Moves the moving statistics towards those of a batch, [C] each; `size` counts the batch's numbers."""
        if stacks.remembers_unbiased_variance(self):
            count = tf.cast(size // tf.size(mean), variance.dtype)
            variance *= count / tf.maximum(count - 1.0, 1.0)
        for moving, value in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving * self.momentum + tf.cast(value, moving.dtype) * (1.0 - self.momentum))
