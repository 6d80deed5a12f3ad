"""Numbers by which rows are recognised when nobody has numbered them: a hash of the bits of a teacher's vector."""

from typing import Any

import numpy as np
import tensorflow as tf


def numbers_of(vectors: tf.Tensor) -> tf.Tensor:
    """Returns int64 [B]: equal for vectors [B, D] that are equal bit by bit as float32, different for others.

    Different vectors share a number with a probability of 2^-51 or less, float16 ones stored as float32 included.

    The sum over d of bits_d times a fixed random odd factor, modulo 2^64 (Carter & Wegman's multilinear hash). No
    matrix product: on GPUs that is rounded to 10 bits (TF32), where equal vectors differ and different ones agree.
    """
    bits = tf.cast(tf.bitcast(tf.cast(vectors, tf.float32), tf.int32), tf.int64)
    # Odd factors keep every bit; any fixed ones do.
    factors = np.random.default_rng(0).integers(-(2**62), 2**62, int(vectors.shape[-1]), dtype=np.int64) * 2 + 1
    return tf.reduce_sum(bits * factors, axis=-1)


def numbers_of_labels(labels: tf.Tensor) -> tf.Tensor:
    """Returns int64 [B]: equal exactly where labels [B] or [B, 1] are equal (words: by a hash of 63 bits).

    What a bank keeps of a label: whole numbers stay as they are, and a fraction is told by its bits as float64.
    """
    labels = tf.reshape(labels, [-1])
    if labels.dtype == tf.string:
        return tf.strings.to_hash_bucket_fast(labels, 2**63 - 1)
    if labels.dtype.is_floating:
        exact = tf.cast(labels, tf.float64)
        # -0 equals 0 and has other bits.
        return tf.bitcast(tf.where(exact == 0.0, tf.zeros_like(exact), exact), tf.int64)
    return tf.cast(labels, tf.int64)


def is_count(value: Any) -> bool:
    """Says whether a value is a whole number of at least 1."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and bool(value >= 1)
