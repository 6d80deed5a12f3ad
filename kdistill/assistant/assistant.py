"""The assistant: a larger network that learns a teacher's answers first, and then answers for images never asked about.

After the teacher assistants of Mirzadeh et al. (AAAI 2020), which stand between a teacher and a student that is much
smaller; here it is also what the few answers are spread by.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kdistill import students
from kdistill.assistant.network import build_assistant
from kdistill.data.disk.photos import Photos, rows_looked_at
from kdistill.data.pipeline import training_batches
from kdistill.layers import EmbeddingBank, JointSpaceInterpolation
from kdistill.layers.geometry import l2_normalise
from kdistill.losses.two_spaces import joined_answers
from kdistill.runtimes.keras_models.keras_model import as_function, embeddings_of
from kdistill.space.ridge import fit_ridge
from kdistill.training import optimizers
from kdistill.training.callbacks import ResumableCheckpoint, StopOnNaN
from kdistill.training.distiller import Distiller
from kdistill.training.fit import pause_steps, train

_BLOCK = 256
_MARGIN = 0.1
"""Part of a photo's side that its central view leaves out on each."""


class Assistant:
    """A network that learns the answers in the joint space and then teaches the student.

    Attributes:
        network: uint8 [B, S, S, 3] -> float32 [B, Da] of unit length.

    Examples:
        >>> assistant = Assistant.of("efficientnet_lite0.keras", image_size=192)
        >>> assistant.learn(photos[asked], answers)
        >>> distiller.fit(photos, assistant.embed(photos))
    """

    def __init__(self, network: keras.Model) -> None:
        """Takes a network of `build_assistant`."""
        self.network = network

    @classmethod
    def of(cls, network: str, **options: Any) -> "Assistant":
        """Builds the network; see `build_assistant`."""
        return cls(build_assistant(network, **options))

    @property
    def image_size(self) -> int:
        """The side S of its images in pixels."""
        return students.image_size(self.network)

    def learn(
        self,
        pixels: np.ndarray | Photos,
        answers: np.ndarray,
        *,
        steps: int = 300,
        learning_rate: float = 2e-4,
        batch_size: int = 32,
        augment: bool = True,
        seed: int = 0,
        distiller: Distiller | None = None,
        loss: Any = "softmax_ranking",
        folder: Path | None = None,
        identity: Mapping[str, Any] | None = None,
        pauses: int = 6,
        callbacks: Sequence[keras.callbacks.Callback] = (),
        verbose: int = 0,
        own_space: bool = False,
    ) -> None:
        """Learns a teacher's answers, all of the network but its batch normalisation, from principal directions on.

        Args:
            pixels: uint8 [n, L, L, 3], L at least S: views are cropped from them; or photos that are decoded when they
                are needed.
            answers: float [n, Dt], the teacher's vectors; or whatever `loss` learns from, row by row.
            steps: of training.
            learning_rate: of Adam at the start; it falls to 0 along a cosine.
            batch_size: images a step.
            augment: show it changed views.
            seed: of order, views and mixtures.
            distiller: the trainer around `network`, which brings the joint space; None for 64 mixtures and a bank of
                1,024 rows.
            loss: of the training, or its name.
            folder: of checkpoints, from which an interrupted training goes on; None for none.
            identity: what the training is made from, see `ResumableCheckpoint`.
            pauses: how often a checkpoint is saved.
            callbacks: of Keras or one's own.
            verbose: as in `fit`.
            own_space: whether the answers, float [n, Da], are where its own shall be: it then starts from the ridge map
                to them instead of principal directions.

        Raises:
            KdistillError: a loss that is not finite, or damaged checkpoints.
        """
        self.start(pixels, answers if own_space else None)
        students.freeze_batch_norm(self.network)
        if distiller is None:
            distiller = Distiller(self.network, JointSpaceInterpolation(64, seed=seed), EmbeddingBank(1024))
        schedule = keras.optimizers.schedules.CosineDecay(learning_rate, steps)
        optimizer = optimizers.for_network(keras.optimizers.Adam(schedule), self.network)
        distiller.compile(optimizer, loss=loss)

        def batches(first: int, last: int, **parts: Any) -> tf.data.Dataset:
            return training_batches(
                pixels,
                answers,
                batch_size=batch_size,
                image_size=self.image_size,
                first_step=first,
                last_step=last,
                seed=seed,
                augment=augment,
                **parts,
            )

        train(
            distiller,
            batches,
            steps=steps,
            pauses=pause_steps(steps, pauses),
            callbacks=[StopOnNaN(), *callbacks],
            checkpoint=None if folder is None else ResumableCheckpoint(distiller, folder, identity),
            verbose=verbose,
        )

    def embed(self, pixels: np.ndarray) -> np.ndarray:
        """Returns its answers, float32 [n, Da] of unit length, for uint8 [n, L, L, 3]; see `answering`."""
        return answering(self.network)(pixels)

    def targets(self, pixels: np.ndarray, asked: np.ndarray, answers: np.ndarray) -> np.ndarray:
        """Returns float32 [n, Da + Dt + 1], what `TwoSpaces` teaches a student: its own answers beside the teacher's.

        Args:
            pixels: uint8 [n, L, L, 3], asked about or not.
            asked: int [m], which of them the teacher was asked about.
            answers: float [m, Dt], the teacher's vectors of these.
        """
        return joined_answers(self.embed(pixels), answers, asked)

    def start(self, pixels: np.ndarray | Photos, answers: np.ndarray | None = None) -> None:
        """Sets the projection to the principal directions of images, uint8 [n, H, W, 3], as it is before it learns.

        Of more than LOOKED_AT images as many are taken, evenly spread. With answers, float [n, Da] in its own space, it
        is set to the ridge map to these.
        """
        features = as_function(students.pooled_features(self.network))
        looked = [embeddings_of(features, _resized(block, self.image_size)) for block in _blocks(pixels)]
        if answers is None:
            students.initialise_projection(self.network, np.concatenate(looked))
            return
        fitted = fit_ridge(np.concatenate(looked), answers[rows_looked_at(len(pixels))])
        self.network.get_layer("projection").set_weights([fitted])


def _blocks(pixels: np.ndarray | Photos) -> Iterator[np.ndarray]:
    """Yields uint8 [256, L, L, 3], the last one shorter, of the images that a projection starts from."""
    rows = rows_looked_at(len(pixels))
    if isinstance(pixels, Photos):
        yield from pixels.look(rows, pixels.size).blocks()
        return
    for first in range(0, len(rows), _BLOCK):
        yield pixels[rows[first : first + _BLOCK]]


def answering(network: keras.Model) -> Callable[[np.ndarray], np.ndarray]:
    """Returns a function from uint8 [n, L, L, 3] to an assistant's answers, float32 [n, Da] of unit length.

    An answer is the mean over four views: the whole photo, its central part of 80 % of either side (with L = 1.25 S as
    sharp as the whole), and the mirror images of both. Its answers are free, and their mean agrees better with the
    teacher than one of them does (docs/assistant.md). Our reading.

    """
    run, size = as_function(network), students.image_size(network)

    def answers(pixels: np.ndarray) -> np.ndarray:
        length = pixels.shape[1]
        margin = round(_MARGIN * length)
        central = pixels[:, margin : length - margin, margin : length - margin]
        views = [_resized(part, size) for part in (pixels, central)]
        views += [view[:, :, ::-1] for view in views]
        return l2_normalise(sum(embeddings_of(run, view) for view in views)).numpy()

    return answers


def _resized(pixels: np.ndarray, size: int) -> np.ndarray:
    """Returns uint8 [n, size, size, 3]."""
    if pixels.shape[1:3] == (size, size):
        return pixels
    parts = [
        tf.image.resize(pixels[first : first + _BLOCK], (size, size), antialias=True).numpy()
        for first in range(0, len(pixels), _BLOCK)
    ]
    return np.clip(np.round(np.concatenate(parts)), 0, 255).astype(np.uint8)
