"""Embedding of images with a Keras model, decoding overlapped with inference by tf.data.

TensorFlow and Keras are imported by the functions, so that a command can look at its surroundings first.
"""

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from kdistill.console.progress import progress_bar
from kdistill.data.images import Image, ImageSet, UnreadableImage, resize
from kdistill.data.mapping import map_in_order
from kdistill.errors import ArgumentError
from kdistill.evaluation.blockwise.memory import in_smaller_batches
from kdistill.runtimes.image_model import Run
from kdistill.runtimes.keras_models.keras_model import as_function

if TYPE_CHECKING:
    import keras
    import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class Embedded:
    """Embeddings of the readable images of a set.

    Attributes:
        embeddings: float32 [n, D].
        indices: int64 [n], positions in the set that was embedded, ascending.
        skipped: (id, reason) of each unreadable image.
    """

    embeddings: np.ndarray
    indices: np.ndarray
    skipped: tuple[tuple[str, str], ...]


@dataclasses.dataclass(frozen=True)
class Batch:
    """A batch of decoded images.

    Attributes:
        pixels: uint8 [b, size, size, 3], the readable images.
        indices: int64 [b], their positions in the sequence.
        skipped: (id, reason) of the images of this stretch that cannot be read.
        stop: the position after the last image of this stretch, readable or not.
    """

    pixels: np.ndarray
    indices: np.ndarray
    skipped: tuple[tuple[str, str], ...]
    stop: int


def decoded_batches(
    images: ImageSet, image_size: int, batch_size: int, *, start: int = 0, stop: int | None = None
) -> Iterator[Batch]:
    """Yields batches in the order of the set while the next ones are decoded in the background.

    Pixels are exactly those of `kdistill.data.images.resize` (Pillow's antialiased bilinear), which embeddings are
    defined with.

    Args:
        images: the set; only [start, stop) of it is read.
        image_size: side of the squares.
        batch_size: images of a batch, readable or not.
        start: first position.
        stop: position after the last; None for the end.
    """
    import tensorflow as tf

    stop = len(images) if stop is None else stop
    errors: dict[int, str] = {}

    def read(position: np.ndarray) -> tuple[np.ndarray, np.bool_]:
        image: Image = images[int(position)]
        try:
            return resize(image.pixels(), image_size), np.True_
        except UnreadableImage as error:
            errors[int(position)] = str(error)
            return np.zeros((image_size, image_size, 3), np.uint8), np.False_

    def read_tensor(position: "tf.Tensor") -> "tuple[tf.Tensor, tf.Tensor, tf.Tensor]":
        # What is called stateful is called in turn under TensorFlow's determinism, which a training switches on.
        pixels, readable = tf.numpy_function(read, [position], [tf.uint8, tf.bool], stateful=False)
        return tf.ensure_shape(pixels, [image_size, image_size, 3]), tf.ensure_shape(readable, []), position

    # tf.data runs on the host; without the scope, a machine with a GPU would copy each batch there and back.
    with tf.device("/CPU:0"):
        batches = map_in_order(tf.data.Dataset.range(start, stop), read_tensor).batch(batch_size).prefetch(2)
        for pixels, readable, positions in batches.as_numpy_iterator():
            skipped = tuple((images[int(i)].id, errors.pop(int(i))) for i in positions[~readable])
            kept = pixels if readable.all() else pixels[readable]
            yield Batch(kept, positions[readable], skipped, int(positions[-1]) + 1)


def embed_images(
    model: "Run | keras.Model",
    images: ImageSet,
    *,
    image_size: int,
    batch_size: int = 32,
    strict: bool = False,
    description: str = "embedding",
) -> Embedded:
    """Embeds a set of images; the embeddings are held in memory (see `embed_job` for sets that are too large).

    Args:
        model: a student (Keras model from uint8 [B, image_size, image_size, 3] to [B, D]) or any function of that
            form.
        images: what to embed.
        image_size: side of the square that each image is resized to.
        batch_size: images in one call of the model; the last batch is shorter, unless the model's batch is fixed.
        strict: raise on the first unreadable image instead of skipping it.
        description: the word in front of the progress bar.

    Raises:
        ArgumentError: a Keras model that takes another size.
        KdistillError: a Keras model that is no student, see `students.image_size`.
        UnreadableImage: under `strict`, or when not one image can be read.
    """
    import keras

    from kdistill import students

    if isinstance(model, keras.Model) and students.image_size(model) != image_size:
        raise ArgumentError(
            f"the model {model.name!r} takes images of {students.image_size(model)} pixels a side, not of {image_size}"
        )
    embed = as_function(model)
    embeddings: np.ndarray | None = None
    indices: list[np.ndarray] = []
    rows = 0
    skipped: list[tuple[str, str]] = []
    with progress_bar(total=len(images), description=description) as bar:
        done = 0
        for batch in decoded_batches(images, image_size, batch_size):
            if strict and batch.skipped:
                raise UnreadableImage(batch.skipped[0][1])
            skipped += batch.skipped
            if len(batch.indices):
                found = in_smaller_batches(embed, batch.pixels)
                if embeddings is None:
                    # Room for all at once: joining parts would take twice as much.
                    embeddings = np.empty((len(images), found.shape[1]), np.float32)
                embeddings[rows : rows + len(found)] = found
                rows += len(found)
                indices.append(batch.indices)
            bar.update(batch.stop - done)
            done = batch.stop
    if embeddings is None:
        reason = skipped[0][1] if skipped else "the list is empty"
        raise UnreadableImage(f"none of the {len(images)} images can be read: {reason}")
    return Embedded(embeddings[:rows], np.concatenate(indices).astype(np.int64), tuple(skipped))
