"""Compactor: a 1x1 convolution behind a normalised one, whose output channels say what can go."""

from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="kdistill")
class Compactor(keras.layers.Layer):
    """Mixes the C channels of a feature map by a square matrix that starts as the identity, without bias.

    Channel c of the output is column c of `kernel` [C, C]. A column of zeros is a channel that can be cut without
    changing anything; `kept` [C], 1 or 0, says which columns still learn from the teacher.

    Source: ResRep (Ding et al., ICCV 2021, arXiv 2007.03260), taken over by CDD (Xie et al., CVPR 2023, arXiv
    2303.09230).

    Input and output [B, H, W, C], in the layer's compute dtype.
    """

    def build(self, input_shape: Any) -> None:
        """Creates the identity and the marks, float32."""
        channels = input_shape[-1]
        self.kernel = self.add_weight(name="kernel", shape=(channels, channels), initializer=identity, dtype="float32")
        self.kept = self.add_weight(
            name="kept", shape=(channels,), initializer="ones", trainable=False, dtype="float32"
        )
        super().build(input_shape)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Mixes the channels at every position."""
        kernel = tf.cast(tf.convert_to_tensor(self.kernel), inputs.dtype)
        return tf.nn.conv2d(inputs, kernel[None, None], strides=1, padding="VALID")

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Returns the shape of the input."""
        return input_shape

    def norms(self) -> tf.Tensor:
        """Returns the L2 norm of each column, float32 [C]."""
        return tf.norm(tf.convert_to_tensor(self.kernel), axis=0)

    def reset(self, gradient: tf.Tensor) -> tf.Tensor:
        """Returns a gradient [C, C] of the distillation loss with 0 in the columns that are not kept."""
        return gradient * tf.convert_to_tensor(self.kept)

    def shrink(self, step: float | tf.Tensor) -> None:
        """Takes `step` off the norm of every column that is not kept, down to 0.

        This is the proximal operator of `step` times the group lasso sum_c ||kernel_c|| over those columns: a plain
        gradient step of it, except that a column ends at exactly 0 instead of swinging around it.
        """
        kernel = tf.convert_to_tensor(self.kernel)
        norms = self.norms()
        factors = tf.maximum(0.0, 1.0 - tf.math.divide_no_nan(tf.cast(step, tf.float32), norms))
        self.kernel.assign(kernel * tf.where(tf.convert_to_tensor(self.kept) > 0, tf.ones_like(factors), factors))


def identity(shape: tuple[int, ...], dtype: Any = None) -> tf.Tensor:
    """Returns the identity matrix as an initial value, in either Keras version."""
    return tf.eye(shape[0], dtype=dtype or tf.float32)
