"""Generalised-mean pooling."""

from typing import Any

import keras
import tensorflow as tf

from kdistill.errors import ArgumentError
from kdistill.stacks import ops


@keras.saving.register_keras_serializable(package="kdistill")
class GeM(keras.layers.Layer):
    """Pools a feature map by the generalised mean over its positions: (mean(max(x, epsilon)^p))^(1/p).

    p = 1 is the average, p -> infinity the maximum. Radenovic, Tolias, Chum, "Fine-tuning CNN Image Retrieval with No
    Human Annotation" (TPAMI 2018), equation 3, with one exponent shared by all channels.

    Input [B, H, W, C], output [B, C], in the layer's compute dtype; the powers are taken in float32, since a float16
    overflows at 41 cubed.
    """

    def __init__(self, p: float = 3.0, learn_p: bool = True, epsilon: float = 1e-6, **kwargs: Any) -> None:
        """Sets the exponent's start.

        Args:
            p: the exponent at the start, above 0.
            learn_p: train the exponent with the other weights.
            epsilon: values below are raised to it, so that every power has a finite gradient.
            **kwargs: of keras.layers.Layer.

        Raises:
            ArgumentError: p or epsilon is not above 0.
        """
        super().__init__(**kwargs)
        if p <= 0 or epsilon <= 0:
            raise ArgumentError(f"GeM takes p and epsilon above 0; p={p} and epsilon={epsilon} were given")
        self.initial_p = float(p)
        self.learn_p = learn_p
        self.epsilon = float(epsilon)

    def build(self, input_shape: Any) -> None:
        """Creates the exponent, a float32 scalar under every policy."""
        self.p = self.add_weight(
            name="p",
            shape=(),
            dtype="float32",
            initializer=keras.initializers.Constant(self.initial_p),
            trainable=self.learn_p,
        )
        super().build(input_shape)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Pools [B, H, W, C] to [B, C]."""
        p = ops.cast(self.p, "float32")
        positive = ops.maximum(ops.cast(inputs, "float32"), self.epsilon)
        pooled = ops.power(ops.mean(ops.power(positive, p), axis=(1, 2)), 1.0 / p)
        return ops.cast(pooled, self.compute_dtype)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, int]:
        """Returns (B, C)."""
        return (input_shape[0], input_shape[-1])

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of `__init__`."""
        return {**super().get_config(), "p": self.initial_p, "learn_p": self.learn_p, "epsilon": self.epsilon}
