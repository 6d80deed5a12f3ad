"""A bank of past rows: more to rank against, at no query, since the teacher's answers are known already."""

from typing import Any

import keras
import tensorflow as tf

from kdistill.errors import ArgumentError
from kdistill.geometry import l2_normalise
from kdistill.layers.state import add_state

_SAME = 1.0 - 1e-5
"""Two teacher vectors with a larger cosine are taken for the same image."""


@keras.saving.register_keras_serializable(package="kdistill")
class EmbeddingBank(keras.layers.Layer):
    """Keeps the last K rows of both spaces, first in, first out.

    Call: `bank((student [B, Ds], teacher [B, Dt]))` returns what was stored *before* this batch, oldest first:
    float32 [K, Ds] and [K, Dt] of unit norm, without gradients, and bool fresh [B, K]: whether stored row k exists and
    is another image than row b. Then it stores the batch. The idea is that of cross-batch memory (Wang et al., CVPR
    2020), here for rows without labels: a stored copy of the same image is known by its teacher vector.
    """

    def __init__(self, size: int = 512, dtype: Any = "float32", **kwargs: Any) -> None:
        """Sets K.

        Args:
            size: K, how many rows are kept.
            dtype: float32 also under mixed precision.
            **kwargs: of keras.layers.Layer.

        Raises:
            ArgumentError: a size below 1.
        """
        super().__init__(dtype=dtype, **kwargs)
        if size < 1:
            raise ArgumentError(f"a bank keeps at least 1 row; size {size} was given")
        self.size = size

    def build(self, input_shape: Any) -> None:
        """Creates the stored rows and the count of rows ever stored."""
        student, teacher = input_shape
        self.student_rows = add_state(self, "student_rows", (self.size, student[-1]), "float32")
        self.teacher_rows = add_state(self, "teacher_rows", (self.size, teacher[-1]), "float32")
        self.stored = add_state(self, "stored", (), "int64")
        super().build(input_shape)

    def call(
        self, inputs: tuple[tf.Tensor, tf.Tensor], store: tuple[tf.Tensor, tf.Tensor] | None = None
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Returns the stored rows and stores these, or the rows of `store` instead; see the class."""
        student, teacher = (tf.stop_gradient(l2_normalise(rows)) for rows in inputs)
        stored_student = tf.convert_to_tensor(self.student_rows)
        stored_teacher = tf.convert_to_tensor(self.teacher_rows)
        stored = tf.convert_to_tensor(self.stored)
        # The newest rows stand at the end, so the first K - stored ones are still empty.
        exists = tf.range(self.size, dtype=tf.int64) >= self.size - stored
        same = tf.matmul(teacher, stored_teacher, transpose_b=True) > _SAME
        if store is not None:
            student, teacher = (tf.stop_gradient(l2_normalise(rows)) for rows in store)
        self.student_rows.assign(tf.concat([stored_student, student], 0)[-self.size :])
        self.teacher_rows.assign(tf.concat([stored_teacher, teacher], 0)[-self.size :])
        self.stored.assign_add(tf.shape(student, out_type=tf.int64)[0])
        return stored_student, stored_teacher, exists[None, :] & ~same

    def compute_output_shape(self, input_shape: Any) -> tuple[tuple[int | None, ...], ...]:
        """Returns the shapes of the stored rows of both spaces and of fresh."""
        student, teacher = input_shape
        return (self.size, student[-1]), (self.size, teacher[-1]), (student[0], self.size)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of `__init__`."""
        return {**super().get_config(), "size": self.size}
