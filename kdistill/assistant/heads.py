"""Heads: a learned linear projection of an assistant's frozen features, for each kind of answer.

A pretrained backbone, frozen: its features are computed once, so that fitting takes seconds and all answers take part
in every step.

Source: Li, Zhang and Zhang, "Intermediate Distillation" (arXiv 2406.12169), for a network that learns a teacher's
orders by ListMLE first and then teaches vectors; a frozen backbone, the start at principal directions, the pull back to
that start, and the heads for vectors and preferences are our reading.
"""

import dataclasses
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from kdistill.errors import KdistillError
from kdistill.files.mapped import release_rows
from kdistill.layers.geometry import l2_normalise
from kdistill.losses.softmax_ranking import softmax_ranking
from kdistill.preferences.losses import order_surprise, preference_surprise

_MAX_ROWS = 20_000  # features that the principal directions are found from
_BLOCK = 4096  # rows of features in one piece
_DIRECTED = 2048  # rows that principal directions take in at a time, as float64
_MAX_RANKED = 2048  # rows that are ranked against each other in a step


@dataclasses.dataclass(frozen=True)
class Head:
    """A projection of pooled features.

    Attributes:
        projection: float32 [C, Dr].
    """

    projection: np.ndarray

    def embed(self, features: np.ndarray) -> np.ndarray:
        """Returns float32 [n, Dr] of unit length from features float32 [n, C], which may be memory-mapped."""
        embedded = np.empty((len(features), self.projection.shape[1]), np.float32)
        for first in range(0, len(features), _BLOCK):
            block = slice(first, first + _BLOCK)
            embedded[block] = l2_normalise(features[block] @ self.projection).numpy()
            release_rows(features, first, first + _BLOCK)
        return embedded


def untaught(features: np.ndarray, dim: int = 256) -> Head:
    """Returns the head before any question: the leading principal directions of features [n, C], not centred."""
    step = -(-len(features) // _MAX_ROWS)
    rows: np.ndarray = np.empty((0, features.shape[1]))
    for first in range(0, len(features), _DIRECTED * step):
        block = features[first : first + _DIRECTED * step : step].astype(np.float64)
        # A triangle has the directions of the rows that it stands for.
        rows = np.asarray(np.linalg.qr(np.concatenate([rows, block]), mode="r")) if first else block
        release_rows(features, first, first + _DIRECTED * step)
    _, _, directions = np.linalg.svd(rows, full_matrices=False)
    return Head(directions[:dim].T.astype(np.float32))


def fit_vectors(
    features: np.ndarray,
    answers: np.ndarray,
    *,
    temperature: float = 0.05,
    pull: float = 0.01,
    steps: int = 300,
    learning_rate: float = 5e-4,
    seed: int = 0,
) -> Head:
    """Fits a head to a teacher's vectors by `softmax_ranking` over all of them.

    Args:
        features: float32 [n, C], L2-normalised pooled features of the images asked about.
        answers: float [n, Dt], row by row.
        temperature: of both sides.
        pull: weight of the squared distance to the untaught projection (L2-SP, Li et al., ICML 2018).
        steps: of Adam over all answers at once, or over another _MAX_RANKED of them each.
        learning_rate: of Adam.
        seed: of which answers meet where there are more.

    Raises:
        KdistillError: the loss is not finite.
    """
    wanted, count = tf.constant(answers, tf.float32), min(len(features), _MAX_RANKED)
    stream = np.random.default_rng(seed)
    chosen = tf.Variable(np.arange(count), dtype=tf.int64)

    def surprise(vectors: tf.Tensor) -> tf.Tensor:
        return softmax_ranking(
            tf.gather(wanted, chosen), vectors, teacher_temperature=temperature, student_temperature=temperature
        )

    def draw() -> np.ndarray:
        rows = stream.choice(len(features), count, replace=False)
        chosen.assign(rows)
        return features[rows]

    given = draw if count < len(features) else features
    return _fit(untaught(features), given, surprise, pull, steps, learning_rate)


def fit_orders(
    features: np.ndarray,
    queries: np.ndarray,
    candidates: np.ndarray,
    *,
    temperature: float = 0.1,
    pull: float = 0.01,
    steps: int = 300,
    learning_rate: float = 5e-4,
) -> Head:
    """Fits a head to orders by ListMLE.

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
) -> Head:
    """Fits a head to preferences by the pairwise logistic.

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
    start: Head,
    features: np.ndarray | Callable[[], np.ndarray],
    surprise: Callable[[tf.Tensor], tf.Tensor],
    pull: float,
    steps: int,
    learning_rate: float,
) -> Head:
    """Returns the head after so many steps on `surprise` of its vectors of `features`, or of what draws some a step."""
    projection = tf.Variable(start.projection)
    optimizer = keras.optimizers.Adam(learning_rate)
    optimizer.build([projection])
    origin = tf.constant(start.projection)
    fixed = None if callable(features) else tf.constant(features)

    @tf.function
    def step(inputs: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            vectors = l2_normalise(tf.matmul(inputs, projection))
            loss = surprise(vectors) + pull * tf.reduce_sum(tf.square(projection - origin))
        optimizer.apply_gradients([(tape.gradient(loss, projection), projection)])
        return loss

    loss = 0.0
    for _ in range(steps):
        loss = float(step(tf.constant(features()) if callable(features) else fixed))
    if not np.isfinite(loss):
        raise KdistillError(f"the loss of the assistant's head became {loss}: features or answers are not finite")
    return Head(projection.numpy())
