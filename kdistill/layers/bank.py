"""A bank of past rows: more to rank against, at no query, since the teacher's answers are known already."""

from typing import Any

import keras
import tensorflow as tf

from kdistill.errors import ArgumentError
from kdistill.layers.geometry import l2_normalise
from kdistill.layers.numbers import is_count, numbers_of
from kdistill.layers.state import add_state


@keras.saving.register_keras_serializable(package="kdistill")
class EmbeddingBank(keras.layers.Layer):
    """Keeps the last K rows of both spaces, first in, first out; an image counts once, by its newest row.

    Call: `bank((student [B, Ds], teacher [B, Dt]), ids=int64 [B])` returns what was stored *before* this batch, oldest
    first: float32 [K, Ds] and [K, Dt] of unit norm, without gradients, and bool fresh [B, K]: whether stored row k
    exists and neither a later stored row nor a row of this batch is the same image. Then it stores the batch. The idea
    is that of cross-batch memory (Wang et al., CVPR 2020): a copy of the same image is known by its number, and older
    copies are left out since the student has moved on from them.

    In the place of the teacher's vectors may stand labels, int64 [B], which come back as they were, int64 [K]. Then
    `ids` are needed, since two images may have the same label.

    Without `ids`, a row's number is a hash of the bits of its teacher vector (`numbers_of`): an image whose vector is
    given again, bit by bit, is recognised, and two images with the same vector are taken for one.
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
        if not is_count(size):
            raise ArgumentError(f"a bank keeps at least 1 row, a whole number of them; size {size!r} was given")
        self.size = size

    def build(self, input_shape: Any) -> None:
        """Creates the stored rows, their numbers, and which of them are the newest of their image."""
        student, teacher = input_shape
        self.keeps_labels = len(teacher) == 1
        self.student_rows = add_state(self, "student_rows", (self.size, student[-1]), "float32")
        kept, dtype = ((), "int64") if self.keeps_labels else ((teacher[-1],), "float32")
        self.teacher_rows = add_state(self, "teacher_rows", (self.size, *kept), dtype)
        self.newest = add_state(self, "newest", (self.size,), "float32")
        self.numbers = add_state(self, "numbers", (self.size,), "int64")
        super().build(input_shape)

    def call(
        self,
        inputs: tuple[tf.Tensor, tf.Tensor],
        ids: tf.Tensor | None = None,
        store: tuple[tf.Tensor, tf.Tensor, tf.Tensor] | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Returns the stored rows and stores these, or (student, teacher, ids) of `store` instead; see the class."""
        student, teacher = inputs
        if (len(teacher.shape) == 1) != self.keeps_labels:
            kept, given = ("labels", "vectors") if self.keeps_labels else ("vectors", "labels")
            raise ArgumentError(f"this bank was made for {kept} and keeps no {given}; make another one")
        if self.keeps_labels and ids is None:
            raise ArgumentError("a bank of labels needs ids: two images may have the same label")
        numbers = numbers_of(teacher) if ids is None else tf.cast(ids, tf.int64)
        stored_student = tf.convert_to_tensor(self.student_rows)
        stored_teacher = tf.convert_to_tensor(self.teacher_rows)
        stored_numbers, newest = tf.convert_to_tensor(self.numbers), tf.convert_to_tensor(self.newest)
        # Rows that were never filled are no image's newest either.
        fresh = (newest > 0) & ~_any_equal(stored_numbers, numbers)
        fresh = tf.broadcast_to(fresh, (tf.shape(teacher)[0], self.size))
        if store is not None:
            student, teacher, numbers = store[0], store[1], tf.cast(store[2], tf.int64)
        student = tf.stop_gradient(l2_normalise(student))
        teacher = tf.cast(teacher, tf.int64) if self.keeps_labels else tf.stop_gradient(l2_normalise(teacher))
        kept = tf.where(_any_equal(stored_numbers, numbers), 0.0, newest)
        # Of an image that stands twice in the batch, the last row counts.
        places = tf.range(tf.shape(numbers)[0])
        later = (numbers[:, None] == numbers[None, :]) & (places[:, None] < places[None, :])
        last = 1.0 - tf.cast(tf.reduce_any(later, axis=1), tf.float32)
        self.student_rows.assign(tf.concat([stored_student, student], 0)[-self.size :])
        self.teacher_rows.assign(tf.concat([stored_teacher, teacher], 0)[-self.size :])
        self.numbers.assign(tf.concat([stored_numbers, numbers], 0)[-self.size :])
        self.newest.assign(tf.concat([kept, last], 0)[-self.size :])
        return stored_student, stored_teacher, fresh

    def compute_output_shape(self, input_shape: Any) -> tuple[tuple[int | None, ...], ...]:
        """Returns the shapes of the stored rows of both spaces and of fresh."""
        student, teacher = input_shape
        return (self.size, student[-1]), (self.size, *teacher[1:]), (student[0], self.size)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of `__init__`."""
        return {**super().get_config(), "size": self.size}


def _any_equal(stored: tf.Tensor, numbers: tf.Tensor) -> tf.Tensor:
    """Returns bool [K]: whether stored number k is one of the numbers [B]."""
    return tf.reduce_any(stored[:, None] == numbers[None, :], axis=1)
