"""Directions, similarities and distances between rows, in float32, with gradients that stay finite."""

import tensorflow as tf

EPSILON = 1e-12
"""Stands under every square root; squared norms below it count as zero."""


def l2_normalise(rows: tf.Tensor) -> tf.Tensor:
    """Returns float32 [..., D] of unit norm; a zero row has no direction: it stays zero and gets no gradient."""
    rows = tf.cast(rows, tf.float32)
    squared = tf.reduce_sum(tf.square(rows), axis=-1, keepdims=True)
    nonzero = squared > EPSILON
    # The inner `where` keeps the infinite slope at zero out of the gradient: 0 times infinity is NaN.
    scale = tf.where(nonzero, tf.math.rsqrt(tf.where(nonzero, squared, 1.0)), 0.0)
    return rows * scale


def safe_sqrt(squared: tf.Tensor) -> tf.Tensor:
    """Returns the square root, exactly 0 with gradient 0 where `squared` is not above EPSILON."""
    positive = squared > EPSILON
    return tf.where(positive, tf.sqrt(tf.where(positive, squared, 1.0)), 0.0)


def squared_distances(rows: tf.Tensor, others: tf.Tensor) -> tf.Tensor:
    """Returns float32 [A, G]: squared Euclidean distances of rows [A, D] to others [G, D], never below 0."""
    rows, others = tf.cast(rows, tf.float32), tf.cast(others, tf.float32)
    inner = tf.matmul(rows, others, transpose_b=True)
    row_norms = tf.reduce_sum(tf.square(rows), axis=-1)
    other_norms = tf.reduce_sum(tf.square(others), axis=-1)
    return tf.maximum(row_norms[:, None] + other_norms[None, :] - 2.0 * inner, 0.0)


def similarities(rows: tf.Tensor, others: tf.Tensor, similarity: str) -> tf.Tensor:
    """Returns float32 [A, G]: cosines ("cosine") or inner products ("dot") of rows [A, D] with others [G, D]."""
    if similarity == "cosine":
        rows, others = l2_normalise(rows), l2_normalise(others)
    return tf.matmul(tf.cast(rows, tf.float32), tf.cast(others, tf.float32), transpose_b=True)
