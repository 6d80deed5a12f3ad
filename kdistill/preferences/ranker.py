"""The ranker: a larger, temporary student that learns what a comparing teacher says, and then teaches vectors.

A pretrained backbone, frozen, under a learned linear projection: its features of the pool are computed once, so that
fitting takes seconds and all answers take part in every step. Its vectors of any unlabelled image then train the real
student at no further question.

Source: Li, Zhang and Zhang, "Intermediate Distillation" (arXiv 2406.12169), for the two stages and ListMLE in the
first; a frozen backbone, the start at principal directions and the pull back to that start are our reading.
"""

import dataclasses
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from kdistill.errors import KdistillError
from kdistill.layers.geometry import l2_normalise
from kdistill.preferences.losses import order_surprise, preference_surprise

_MAX_ROWS = 20_000  # features that the principal directions are found from


@dataclasses.dataclass(frozen=True)
class Ranker:
    """A projection of pooled features.

    Attributes:
        projection: float32 [C, Dr].
    """

    projection: np.ndarray

    def embed(self, features: np.ndarray) -> np.ndarray:
        """Returns float32 [n, Dr] of unit length from features float32 [n, C]."""
        return l2_normalise(features @ self.projection).numpy()


def untaught(features: np.ndarray, dim: int = 256) -> Ranker:
    """Returns the ranker before any question: the leading principal directions of features [n, C], not centred."""
    step = -(-len(features) // _MAX_ROWS)
    _, _, directions = np.linalg.svd(features[::step].astype(np.float64), full_matrices=False)
    return Ranker(directions[:dim].T.astype(np.float32))


def fit_orders(
    features: np.ndarray,
    queries: np.ndarray,
    candidates: np.ndarray,
    *,
    temperature: float = 0.1,
    pull: float = 0.01,
    steps: int = 300,
    learning_rate: float = 5e-4,
) -> Ranker:
    """Fits the ranker to orders by ListMLE.

    Args:
        features: float32 [n, C], L2-normalised pooled features of the pool.
        queries: int [m], rows.
        candidates: int [m, k], rows, each list in the teacher's order, the best first.
        temperature: of the scores, which are cosines over it.
        pull: weight of the squared distance to the untaught projection (L2-SP, Li et al., ICML 2018).
        steps: of Adam over all answers at once.
        learning_rate: of Adam.

    Raises:
        KdistillError: the loss is not finite.
    """
    rows, places = np.unique(np.concatenate([queries[:, None], candidates], axis=1), return_inverse=True)
    places = places.reshape(len(queries), -1).astype(np.int32)
    query, listed = tf.constant(places[:, 0]), tf.constant(places[:, 1:])

    def surprise(vectors: tf.Tensor) -> tf.Tensor:
        scores = tf.einsum("md,mkd->mk", tf.gather(vectors, query), tf.gather(vectors, listed))
        return order_surprise(scores / temperature)

    return _fit(untaught(features), features[rows], surprise, pull, steps, learning_rate)


def fit_preferences(
    features: np.ndarray,
    queries: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    probability: np.ndarray,
    *,
    temperature: float = 0.2,
    pull: float = 0.001,
    steps: int = 300,
    learning_rate: float = 5e-4,
) -> Ranker:
    """Fits the ranker to preferences by the pairwise logistic.

    Args:
        features: float32 [n, C], L2-normalised pooled features of the pool.
        queries, first, second: int [m], rows.
        probability: float32 [m], that the first matches the query better.
        temperature: of the scores, which are cosines over it.
        pull: weight of the squared distance to the untaught projection (L2-SP, Li et al., ICML 2018).
        steps: of Adam over all answers at once.
        learning_rate: of Adam.

    Raises:
        KdistillError: the loss is not finite.
    """
    triples = np.stack([queries, first, second])
    rows, places = np.unique(triples, return_inverse=True)
    places = places.reshape(triples.shape).astype(np.int32)
    # Many pairs share a query and an image: each cosine is taken once, however many pairs it stands in.
    compared = places[0].astype(np.int64) * len(rows) + places[1:]
    cosines, which = np.unique(compared, return_inverse=True)
    left, right = (tf.constant(half, tf.int32) for half in which.reshape(2, -1))
    query, image = tf.constant(cosines // len(rows)), tf.constant(cosines % len(rows))
    wanted = tf.constant(probability, tf.float32)

    def surprise(vectors: tf.Tensor) -> tf.Tensor:
        scores = tf.reduce_sum(tf.gather(vectors, query) * tf.gather(vectors, image), axis=1) / temperature
        return preference_surprise(tf.gather(scores, left) - tf.gather(scores, right), wanted)

    return _fit(untaught(features), features[rows], surprise, pull, steps, learning_rate)


def _fit(
    start: Ranker,
    features: np.ndarray,
    surprise: Callable[[tf.Tensor], tf.Tensor],
    pull: float,
    steps: int,
    learning_rate: float,
) -> Ranker:
    """Returns the ranker after so many steps on `surprise` of its vectors of `features`."""
    projection = tf.Variable(start.projection)
    optimizer = keras.optimizers.Adam(learning_rate)
    optimizer.build([projection])
    inputs, origin = tf.constant(features), tf.constant(start.projection)

    @tf.function
    def step() -> tf.Tensor:
        with tf.GradientTape() as tape:
            vectors = l2_normalise(tf.matmul(inputs, projection))
            loss = surprise(vectors) + pull * tf.reduce_sum(tf.square(projection - origin))
        optimizer.apply_gradients([(tape.gradient(loss, projection), projection)])
        return loss

    loss = 0.0
    for _ in range(steps):
        loss = float(step())
    if not np.isfinite(loss):
        raise KdistillError(f"the ranker's loss became {loss}: the features or the answers are not finite")
    return Ranker(projection.numpy())
