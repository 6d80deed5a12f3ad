"""Published losses for a student in the teacher's space that the library has no other use for."""

from typing import Any

import numpy as np
import tensorflow as tf
from sklearn.cluster import KMeans

from kdistill.layers.geometry import l2_normalise
from kdistill.losses.base import DistillationLoss

_SAME = 0.9999
"""Cosine from which two teacher vectors are taken for those of one image."""
_MOST_CENTRES = 256


class ContrastiveAML(DistillationLoss):
    """The asymmetric contrastive loss of Budnik & Avrithis (CVPR 2021), without labels.

        L_a = -cos(s_a, t_a) + mean over other known t_g of max(0, cos(s_a, t_g) - margin)

    There positives are all images of the anchor's class. Without labels the anchor's own vector is the only one that is
    sure, and all other images are negatives: our reading.
    """

    needs_equal_dims = True

    def __init__(self, known: np.ndarray, margin: float = 0.7, name: str = "aml", **kwargs: Any) -> None:
        """Takes the known vectors [K, D] and the cosine from which a negative costs something."""
        super().__init__({"margin": margin}, name=name, **kwargs)
        self.known, self.margin = l2_normalise(known).numpy(), margin

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor, mask: tf.Tensor | None = None) -> tf.Tensor:
        """Returns the float32 scalar for rows [B, D] of both spaces."""
        teacher, student = tf.stop_gradient(l2_normalise(y_true)), l2_normalise(y_pred)
        known = tf.constant(self.known)
        others = tf.cast(tf.matmul(teacher, known, transpose_b=True) < _SAME, tf.float32)
        excess = tf.nn.relu(tf.matmul(student, known, transpose_b=True) - self.margin)
        apart = tf.math.divide_no_nan(tf.reduce_sum(others * excess, 1), tf.reduce_sum(others, 1))
        return tf.reduce_mean(apart - tf.reduce_sum(student * teacher, axis=1))


class SSP(DistillationLoss):
    """Structure similarity preservation (arXiv 2403.00648): similarities to the centres of a product quantiser agree.

        L = mean over parts m of KL(softmax_c(<t_m, c> / temperature) || softmax_c(<s_m, c> / temperature))

    The quantiser is fitted to the known vectors of the gallery; nothing but the teacher's outputs is needed. The number
    of parts and the temperature are options, since we know the method by its abstract and description: our reading.
    """

    needs_equal_dims = True

    def __init__(
        self,
        known: np.ndarray,
        parts: int = 4,
        temperature: float = 0.05,
        seed: int = 0,
        name: str = "ssp",
        **kwargs: Any,
    ) -> None:
        """Fits the centres to the known vectors [K, D]: at most 256 a part, and no more than a quarter of K."""
        super().__init__({"parts": parts, "temperature": temperature}, name=name, **kwargs)
        rows = l2_normalise(known).numpy()
        self.edges = np.linspace(0, rows.shape[1], parts + 1).astype(int)
        count = max(2, min(_MOST_CENTRES, len(rows) // 4))
        self.centres = [
            KMeans(count, n_init=1, random_state=seed).fit(rows[:, first:last]).cluster_centers_.astype(np.float32)
            for first, last in zip(self.edges[:-1], self.edges[1:], strict=True)
        ]
        self.temperature = temperature

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor, mask: tf.Tensor | None = None) -> tf.Tensor:
        """Returns the float32 scalar for rows [B, D] of both spaces."""
        teacher, student = tf.stop_gradient(l2_normalise(y_true)), l2_normalise(y_pred)
        total = tf.constant(0.0)
        for first, last, centres in zip(self.edges[:-1], self.edges[1:], self.centres, strict=True):
            wanted, found = (
                tf.nn.log_softmax(tf.matmul(rows[:, first:last], centres, transpose_b=True) / self.temperature)
                for rows in (teacher, student)
            )
            total += tf.reduce_mean(tf.reduce_sum(tf.exp(wanted) * (wanted - found), axis=1))
        return total / len(self.centres)
