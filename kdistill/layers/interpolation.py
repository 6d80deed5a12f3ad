"""The joint space: original rows and their mixtures, the same mixture in the student's and the teacher's space."""

from typing import Any

import keras
import numpy as np
import scipy.special
import tensorflow as tf

from kdistill.errors import ArgumentError
from kdistill.facts.joint_space import DISTRIBUTIONS, PAIRINGS
from kdistill.layers.geometry import l2_normalise
from kdistill.layers.numbers import is_count
from kdistill.layers.state import add_state

_QUANTILES = 4096


@keras.saving.register_keras_serializable(package="kdistill")
class JointSpaceInterpolation(keras.layers.Layer):
    """Appends M mixtures to the B rows of a batch, in both spaces with the same (i, j, λ).

        z = [x ; x~],   x~ = λ x_i + (1 - λ) x_j,   i != j

    Laskar & Kannala, "Data-Efficient Ranking Distillation for Image Retrieval" (ACCV 2020): linear interpolation in
    the final output space. How λ is drawn, how pairs are chosen and whether a mixture is renormalised are our reading.
    Original rows are L2-normalised first, since what is searched is their direction.

    Call: `layer((student [B, Ds], teacher [B, Dt]))` returns float32 z_s [B+M, Ds], float32 z_t [B+M, Dt] (without a
    gradient) and int32 parents [M, 2] (i, j). A batch of one row has no pair: its mixtures are zero rows
    whose parents are -1, which `pair_mask` leaves out.

    Numbers depend on `seed` and on how often the layer was called. That count is a weight, so a resumed training
    draws what an uninterrupted one would have drawn. Calls with `evaluating=True` do not count: they draw from a stream
    of their own, the same for each.
    """

    def __init__(
        self,
        num_mixtures: int = 256,
        distribution: str = "beta",
        alpha: float = 0.3,
        weight: float = 0.5,
        pairing: str = "random",
        neighbours: int = 8,
        renormalise: bool = True,
        seed: int = 0,
        dtype: Any = "float32",
        **kwargs: Any,
    ) -> None:
        """Chooses how mixtures are drawn.

        Args:
            num_mixtures: M; 0 leaves the originals alone (the control without mixing).
            distribution: of λ: "uniform" on [0, 1], "beta" (alpha, alpha), or "fixed".
            alpha: of the beta distribution, above 0; below 1 most mixtures stay close to one parent.
            weight: λ of "fixed".
            pairing: j is any other row ("random"), one of the rows nearest to i in the teacher's space
                ("teacher_knn"), or one of the farthest ("far").
            neighbours: how many nearest or farthest rows j is drawn from.
            renormalise: give each mixture unit norm.
            seed: of all draws.
            dtype: of the outputs; float32 also under mixed precision.
            **kwargs: of keras.layers.Layer.

        Raises:
            ArgumentError: an unknown name or a number out of its range.
        """
        super().__init__(dtype=dtype, **kwargs)
        if not (is_count(num_mixtures) or num_mixtures == 0) or not is_count(neighbours):
            raise ArgumentError(
                f"the number of mixtures cannot be below 0 nor that of neighbours below 1, and both are whole numbers; "
                f"{num_mixtures!r} and {neighbours!r} were given"
            )
        if distribution not in DISTRIBUTIONS:
            raise ArgumentError(f"λ distribution {distribution!r} is unknown; choose one of {', '.join(DISTRIBUTIONS)}")
        if pairing not in PAIRINGS:
            raise ArgumentError(f"pairing {pairing!r} is unknown; choose one of {', '.join(PAIRINGS)}")
        if not 0 < alpha < float("inf") or not 0 <= weight <= 1:
            raise ArgumentError(f"alpha must be above 0 and weight within [0, 1]; {alpha} and {weight} were given")
        self.num_mixtures = num_mixtures
        self.distribution = distribution
        self.alpha = alpha
        self.weight = weight
        self.pairing = pairing
        self.neighbours = neighbours
        self.renormalise = renormalise
        self.seed = seed
        if distribution == "beta":
            # Sampling by inverse: XLA compiles no gamma or beta sampler.
            levels = np.linspace(0.0, 1.0, _QUANTILES + 1)
            self._quantiles = scipy.special.betaincinv(alpha, alpha, levels).astype(np.float32)

    def build(self, input_shape: Any) -> None:
        """Creates the count of calls."""
        self.calls = add_state(self, "calls", (), "int64")
        super().build(input_shape)

    def call(
        self, inputs: tuple[tf.Tensor, tf.Tensor], shared: bool = False, evaluating: bool = False
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Mixes (student [B, Ds], teacher [B, Dt]); see the class.

        Under a `tf.distribute` strategy, `shared` says that all replicas hold the same rows: they draw the same
        (i, j, λ), those of a single process.
        """
        student, teacher = l2_normalise(inputs[0]), tf.stop_gradient(l2_normalise(inputs[1]))
        batch = tf.shape(student)[0]
        uniform = self._draw(shared, evaluating)
        first, second = self._pairs(uniform[0], uniform[1], teacher, batch)
        weights = self._weights(uniform[2])
        parents = tf.where(batch > 1, tf.stack([first, second], axis=1), -1)
        mixed_student = self._mix(student, first, second, weights)
        mixed_teacher = self._mix(teacher, first, second, weights)
        return tf.concat([student, mixed_student], 0), tf.concat([teacher, mixed_teacher], 0), parents

    def _draw(self, shared: bool, evaluating: bool) -> tf.Tensor:
        # No call of the training has a count below 0.
        count = tf.constant(-1, tf.int64) if evaluating else tf.convert_to_tensor(self.calls)
        if not evaluating:
            self.calls.assign_add(1)
        replica = tf.distribute.get_replica_context()
        number = 0 if shared or replica is None else replica.replica_id_in_sync_group
        # Replicas with rows of their own have the same count, so each gets a stream of its own.
        seed = tf.stack([tf.cast(self.seed, tf.int64) + tf.cast(number, tf.int64) * 2**32, count])
        return tf.random.stateless_uniform((3, self.num_mixtures), seed, alg="philox")

    def _pairs(
        self, first_draw: tf.Tensor, second_draw: tf.Tensor, teacher: tf.Tensor, batch: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        first = _integers(first_draw, batch)
        if self.pairing == "random":
            second = tf.math.floormod(first + 1 + _integers(second_draw, batch - 1), batch)
            return first, second
        closeness = tf.matmul(teacher, teacher, transpose_b=True)
        if self.pairing == "far":
            closeness = -closeness
        # A row itself always comes last, out of reach of the draw below.
        closeness = tf.linalg.set_diag(closeness, tf.fill([batch], -2.0))
        order = tf.argsort(closeness, axis=1, direction="DESCENDING", stable=True)
        position = _integers(second_draw, tf.minimum(self.neighbours, batch - 1))
        return first, tf.gather_nd(order, tf.stack([first, position], axis=1))

    def _weights(self, draw: tf.Tensor) -> tf.Tensor:
        if self.distribution == "uniform":
            return draw
        if self.distribution == "fixed":
            return tf.fill(tf.shape(draw), float(self.weight))
        place = draw * _QUANTILES
        below = _integers(draw, _QUANTILES)
        low, high = tf.gather(self._quantiles, below), tf.gather(self._quantiles, below + 1)
        return low + (high - low) * (place - tf.cast(below, tf.float32))

    def _mix(self, rows: tf.Tensor, first: tf.Tensor, second: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
        exists = tf.cast(tf.shape(rows)[0] > 1, tf.float32)
        weights = weights[:, None]
        mixed = weights * tf.gather(rows, first) + (1.0 - weights) * tf.gather(rows, second)
        return exists * (l2_normalise(mixed) if self.renormalise else mixed)

    def compute_output_shape(self, input_shape: Any) -> tuple[tuple[int | None, ...], ...]:
        """Returns the shapes of z_s, z_t and parents."""
        student, teacher = input_shape
        rows = None if student[0] is None else student[0] + self.num_mixtures
        return (rows, student[1]), (rows, teacher[1]), (self.num_mixtures, 2)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of `__init__`."""
        return {
            **super().get_config(),
            "num_mixtures": self.num_mixtures,
            "distribution": self.distribution,
            "alpha": self.alpha,
            "weight": self.weight,
            "pairing": self.pairing,
            "neighbours": self.neighbours,
            "renormalise": self.renormalise,
            "seed": self.seed,
        }


def _integers(uniform: tf.Tensor, limit: tf.Tensor | int) -> tf.Tensor:
    """Returns int32 in [0, limit) from draws in [0, 1); 0 where limit is below 1."""
    limit = tf.convert_to_tensor(limit, tf.int32)
    scaled = tf.cast(tf.floor(uniform * tf.cast(limit, tf.float32)), tf.int32)
    # The product may round up to `limit` itself.
    return tf.clip_by_value(scaled, 0, tf.maximum(limit - 1, 0))
