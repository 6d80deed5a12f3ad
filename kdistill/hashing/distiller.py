"""Training of binary codes: the joint-space ranking of the black box, one view like the other, bits far from 0.

Jang et al., "Deep Hash Distillation for Image Retrieval" (ECCV 2022, arXiv 2112.08816), without labels: what their
proxies do for classes, the teacher's ranking does here. docs/hashing.md says what is theirs and what is our reading.
"""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kdistill.errors import ArgumentError, KdistillError
from kdistill.hashing.losses import likelihood_quantisation, proxy_cross_entropy, self_distillation
from kdistill.hashing.views import strong_views
from kdistill.layers.hash_head import HashHead
from kdistill.training.batches import parts_of
from kdistill.training.distiller import Distiller


@keras.saving.register_keras_serializable(package="kdistill")
class HashDistiller(Distiller):
    """Distils into a student whose head is a `HashHead`, with `fit(images, teacher_embeddings)` as every `Distiller`.

        loss = ranking(weak views) + distillation * (1 - cos(weak, strong)) + quantisation * likelihood(weak)

    The images that `fit` is given are the weak views; the strong ones are made from them (`strong_views`), new in each
    step and the same in a run that is resumed. Or `fit((weak, strong), ...)` is given both. With `num_classes`,
    `fit(images, labels)` learns one proxy a class in place of the ranking, as the paper does.
    """

    def __init__(
        self,
        student: keras.Model,
        *args: Any,
        distillation: float = 0.1,
        quantisation: float = 0.1,
        sigma: float = 0.5,
        num_classes: int | None = None,
        proxy_temperature: float = 0.2,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        """Holds the student and the strengths.

        Args:
            student: with a `HashHead` called "hash" (`students.build(hash_bits=...)`).
            *args: of `Distiller`.
            distillation: weight of the self-distillation, the paper's lambda 1; 0 makes no strong views.
            quantisation: weight of the quantisation, the paper's lambda 2.
            sigma: of the Gaussians of the quantisation.
            num_classes: C, to learn from labels int [B] or float [B, C] by proxies; None for the teacher's vectors.
            proxy_temperature: of the softmax over proxies.
            seed: of the strong views.
            **kwargs: of `Distiller`.

        Raises:
            ArgumentError: a student without such a head, or a strength below 0.
        """
        super().__init__(student, *args, **kwargs)
        if distillation < 0 or quantisation < 0:
            raise ArgumentError(
                f"strengths are 0 or more; distillation={distillation} and quantisation={quantisation} were given"
            )
        self.distillation, self.quantisation, self.sigma = float(distillation), float(quantisation), float(sigma)
        self.num_classes, self.proxy_temperature, self.seed = num_classes, float(proxy_temperature), int(seed)
        self.embed_with_codes = _embedding_and_codes(student)
        self.proxies = None
        if num_classes is not None:
            self.proxies = self.add_weight(
                name="proxies",
                shape=(num_classes, hash_head(student).bits),
                dtype="float32",
                initializer="glorot_uniform",
            )

    def batch_loss(self, data: Any) -> tf.Tensor:
        """Returns the scalar float32 loss of (images uint8 [B, S, S, 3] or two views of them, targets) in training."""
        images, targets, ids = parts_of(data)
        return self.view_losses(images, targets, tf.cast(self.optimizer.iterations, tf.int32), ids)

    def view_losses(
        self, images: tf.Tensor, targets: tf.Tensor, step: tf.Tensor, ids: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Returns the float32 sum of the three losses of a batch; `step` (int32) chooses the strong views."""
        weak, strong = images if isinstance(images, tuple | list) else (images, None)
        embeddings, codes = self.embed_with_codes(weak, training=True)
        loss = self.joint_loss(targets, embeddings, training=True, ids=ids)
        if self.quantisation:
            loss += self.quantisation * likelihood_quantisation(codes, sigma=self.sigma)
        if self.distillation:
            if strong is None:
                strong = strong_views(weak, tf.stack([self.seed, step]))
            loss += self.distillation * self_distillation(embeddings, self.student(strong, training=True))
        return loss

    def test_step(self, data: Any) -> dict[str, tf.Tensor]:
        """The ranking loss on `validation_data`, of the weak views."""
        images, targets, _ = parts_of(data)
        return super().test_step((images[0] if isinstance(images, tuple | list) else images, targets))

    def joint_loss(
        self, targets: tf.Tensor, embeddings: tf.Tensor, training: bool = False, ids: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Returns the ranking loss of a `Distiller`, or with `num_classes` that of the proxies."""
        if self.proxies is None:
            return super().joint_loss(targets, embeddings, training, ids)
        proxies = tf.convert_to_tensor(self.proxies)
        return proxy_cross_entropy(targets, embeddings, proxies, temperature=self.proxy_temperature)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of `__init__`, layers serialised."""
        own = ("distillation", "quantisation", "sigma", "num_classes", "proxy_temperature", "seed")
        return {**super().get_config(), **{name: getattr(self, name) for name in own}}


def hash_head(student: keras.Model) -> HashHead:
    """Returns the head of a student that makes codes.

    Raises:
        ArgumentError: the student has none.
    """
    heads = [layer for layer in student.layers if isinstance(layer, HashHead)]
    if len(heads) != 1:
        raise ArgumentError(f"{student.name} makes no codes: it has {len(heads)} hash heads; build it with hash_bits")
    return heads[0]


def initialise_hash_head(student: keras.Model, images: np.ndarray, *, seed: int = 0) -> None:
    """Starts the head at codes that keep what is known before it (our reading; the paper starts at random).

    The directions of `rotated_directions`; gamma and beta start where every bit is set in half of the images and varies
    alike. It costs no question and no label.

    Args:
        student: with a `HashHead`.
        images: uint8 [n, S, S, 3], unlabelled. Where they span fewer than K directions, the other bits keep their
            random start.
        seed: of the rotation.

    Raises:
        KdistillError: the head takes in the same for all images.
    """
    head = hash_head(student)
    features = features_before(student, images)
    kernel = np.array(head.get_weights()[0])
    directions = rotated_directions(_units(features), head.bits, seed=seed)
    kernel[:, : directions.shape[1]] = directions
    # What LayerNorm makes of these features: where the middle of each bit lies, and how far it varies.
    projected = features.astype(np.float64) @ kernel
    centred = projected - projected.mean(axis=1, keepdims=True)
    normal = centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + head.epsilon)
    gamma = 1 / np.maximum(normal.std(axis=0), 1e-3)
    beta = -gamma * np.median(normal, axis=0)
    head.set_weights([kernel, gamma.astype(np.float32), beta.astype(np.float32)])


def rotated_directions(features: np.ndarray, bits: int, *, seed: int) -> np.ndarray:
    """Returns float64 [C, r], r = min(bits, rank): half-whitened principal directions, turned at random.

    Each principal coordinate is divided by the square root of its deviation, so that weak directions count for more
    than in the features and for less than after whitening; a random rotation then shares them out over all bits. On
    validation images this was better than no or full whitening, and than the rotation of iterative quantisation (Gong
    & Lazebnik, CVPR 2011); figures in benchmarks/results/NOTES.md.

    Args:
        features: [n, C]; their mean is taken off first.
        bits: K.
        seed: of the rotation.

    Raises:
        KdistillError: all features are equal.
    """
    _, directions = _half_whitening(features)
    count = min(bits, directions.shape[1])
    rotation, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((count, count)))
    return directions[:, :count] @ rotation


def half_whitened(features: np.ndarray) -> np.ndarray:
    """Returns float64 [n, r]: all principal coordinates of features of norm 1, each divided as in `rotated_directions`.

    Args:
        features: [n, C]; their norms are taken off first.

    Raises:
        KdistillError: all features point the same way.
    """
    centred, directions = _half_whitening(_units(features))
    return centred @ directions


def features_before(student: keras.Model, images: np.ndarray) -> np.ndarray:
    """Returns float32 [n, C], what the hash head takes in for images uint8 [n, S, S, 3]."""
    return np.asarray(keras.Model(student.inputs, hash_head(student).input).predict(images, verbose=0))


def _half_whitening(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the features less their mean, float64 [n, C], and directions [C, r], the strongest first."""
    centred = features.astype(np.float64) - features.mean(axis=0, dtype=np.float64)
    _, sizes, directions = np.linalg.svd(centred, full_matrices=False)
    count = int(np.sum(sizes > 1e-6 * max(sizes[0], 1e-12)))
    if count == 0:
        raise KdistillError("the features of all images are equal, so that no direction tells them apart")
    return centred, directions[:count].T / np.sqrt(sizes[:count] / sizes[0])


def _units(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def _embedding_and_codes(student: keras.Model) -> Callable[..., list[tf.Tensor]]:
    """Returns the student as a function to [embeddings, codes], both [B, K].

    A function and not the model itself: Keras would list the student's weights twice among those of the distiller.
    """
    both = keras.Model(student.inputs, [student.output, hash_head(student).output])
    return lambda images, training: both(images, training=training)
