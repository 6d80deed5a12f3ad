"""The head that turns features into almost binary codes."""

from typing import Any

import keras
import tensorflow as tf

from kdistill.errors import ArgumentError
from kdistill.stacks import ops

BITS = (16, 32, 64, 128)
"""Lengths of codes that are tested; any multiple of 8 packs into whole bytes."""


@keras.saving.register_keras_serializable(package="kdistill")
class HashHead(keras.layers.Layer):
    """Maps features [B, C] to codes [B, K] between -1 and 1: a linear layer without bias, LayerNorm, tanh.

        h = tanh(gamma * (W x - mean(W x)) / std(W x) + beta),   mean and std over the K bits of a row

    Source: Jang et al., "Deep Hash Distillation for Image Retrieval" (ECCV 2022, arXiv 2112.08816), the "hash
    function" of its public code. Bit k of an image is set where h_k >= 0; that zero counts as set is our reading.

    LayerNorm and tanh are taken in float32 under every policy; the output has the layer's compute dtype.
    """

    def __init__(self, bits: int, epsilon: float = 1e-5, **kwargs: Any) -> None:
        """Sets the length of the codes.

        Args:
            bits: K, a multiple of 8.
            epsilon: added to the variance.
            **kwargs: of keras.layers.Layer.

        Raises:
            ArgumentError: bits is not a multiple of 8 above 0.
        """
        super().__init__(**kwargs)
        if bits < 8 or bits % 8:
            raise ArgumentError(f"codes are packed into whole bytes: bits is a multiple of 8, {bits} was given")
        self.bits = int(bits)
        self.epsilon = float(epsilon)

    def build(self, input_shape: Any) -> None:
        """Creates W [C, K], and gamma and beta [K] of the LayerNorm."""
        self.kernel = self.add_weight(
            name="kernel", shape=(input_shape[-1], self.bits), initializer="glorot_uniform", trainable=True
        )
        self.gamma = self.add_weight(
            name="gamma", shape=(self.bits,), dtype="float32", initializer="ones", trainable=True
        )
        self.beta = self.add_weight(
            name="beta", shape=(self.bits,), dtype="float32", initializer="zeros", trainable=True
        )
        super().build(input_shape)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Returns h [B, K]."""
        projected = ops.cast(ops.matmul(inputs, ops.cast(self.kernel, inputs.dtype)), "float32")
        centred = projected - ops.mean(projected, axis=-1, keepdims=True)
        variance = ops.mean(ops.square(centred), axis=-1, keepdims=True)
        normal = centred * ops.rsqrt(variance + self.epsilon)
        gamma, beta = (ops.cast(weight, "float32") for weight in (self.gamma, self.beta))
        return ops.cast(ops.tanh(gamma * normal + beta), self.compute_dtype)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, int]:
        """Returns (B, K)."""
        return (input_shape[0], self.bits)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of `__init__`."""
        return {**super().get_config(), "bits": self.bits, "epsilon": self.epsilon}
