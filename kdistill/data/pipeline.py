"""The training pipeline: batches that depend on the seed and the step alone, so that a resumed run repeats none."""

from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from kdistill.data.class_batches import ClassBatches
from kdistill.data.disk.photos import Photos
from kdistill.data.mapping import map_in_order
from kdistill.errors import ArgumentError

RESIZE_METHODS = ("bilinear", "bicubic", "area", "lanczos3")


def training_batches(
    pixels: np.ndarray | Photos,
    targets: np.ndarray,
    *,
    batch_size: int,
    image_size: int,
    first_step: int,
    last_step: int,
    seed: int,
    augment: bool,
    replicas: int = 1,
    part: range = range(1),
    labels: np.ndarray | None = None,
    images_a_class: int = 1,
) -> tf.data.Dataset:
    """Returns batches for the steps first_step .. last_step - 1: (images uint8 [B, S, S, 3], (targets [B, ...], ids)).

    Ids are int64 [B]: the place of each row's image in `pixels`, by which a bank recognises it in a later batch.

    Every pass over the images is a fresh permutation without its last, short batch: all batches have the same size and
    none holds an image twice. Fewer images than `batch_size` give batches of all images. Two runs with the same seed
    see the same batches, whichever step they start from.

    With `labels`, each batch holds several images a class (`ClassBatches`); a pass then leaves out what is over where K
    does not divide the images of a class, others in each pass.

    Args:
        pixels: uint8 [n, H, W, 3], or photos that are decoded when they are needed; of one that cannot be read, the
            next one takes the place.
        targets: [n, ...], the teacher's vectors or labels, row by row; may be memory-mapped.
        batch_size: B.
        image_size: S, the side that the student takes.
        first_step: number of steps that were done before.
        last_step: number of steps when training ends.
        seed: of order and augmentation.
        augment: mild changes to the student's view (crop, flip, brightness, resize kernel); the teacher's answer stays.
        replicas: R, in how many equal parts each batch is cut for training on several replicas.
        part: which of the R parts to give, one after the other as batches [B / R, ...]; together the parts are exactly
            the images, views and order of the whole batch.
        labels: [n], of every image, for batches of P classes with K images each; None for batches of any images.
        images_a_class: K.

    Raises:
        ArgumentError: a batch that R or K does not divide, or a K without a label for each image.
    """
    classes = None
    if labels is not None or images_a_class != 1:
        if labels is None or len(labels) != len(pixels):
            given = "none" if labels is None else len(labels)
            raise ArgumentError(f"several images a class need a label for each of {len(pixels)} images; {given} given")
        classes = ClassBatches(labels, images_a_class, batch_size)
    batch_size = min(batch_size, len(pixels)) if classes is None else classes.batch_size
    if batch_size % replicas:
        raise ArgumentError(f"a batch of {batch_size} images cannot be cut into {replicas} equal parts, one a replica")
    rows = _rows(len(pixels), batch_size, first_step, last_step, seed, classes)
    # A view depends on its place in the whole training, wherever it is made.
    positions = np.arange(first_step * batch_size, last_step * batch_size, dtype=np.int32)
    rows, positions = (
        numbers.reshape(-1, replicas, batch_size // replicas)[:, part.start : part.stop].reshape(-1)
        for numbers in (rows, positions)
    )
    read, drawn = reader(pixels, targets), small_seed(seed)

    def example(position: tf.Tensor, row: tf.Tensor) -> tuple[tf.Tensor, tuple[tf.Tensor, tf.Tensor]]:
        image, answer, row = read(row)
        if augment:
            image = augmented_view(image, image_size, tf.stack([drawn, position]))
        elif pixels.shape[1] != image_size:
            image = _to_uint8(tf.image.resize(image, (image_size, image_size), antialias=True))
        return image, (answer, row)

    dataset = map_in_order(tf.data.Dataset.from_tensor_slices((positions, rows)), example)
    return dataset.batch(batch_size // replicas, drop_remainder=True).prefetch(2)


def reader(
    pixels: np.ndarray | Photos, targets: np.ndarray
) -> Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor, tf.Tensor]]:
    """Returns a function from a row, int64 [], to its photo uint8 [H, W, 3], its target, and the row that these are of.

    It is for `map`: neither photos nor targets become a part of the graph, which would copy all of them, on a machine
    with a GPU into its memory.
    """
    targets = np.asarray(targets)

    def read(row: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.int64]:
        place = int(row)
        if isinstance(pixels, Photos):
            image, place = pixels.from_row(place)
        else:
            image = pixels[place]
        return image, targets[place], np.int64(place)

    types = [tf.uint8, tf.as_dtype(targets.dtype), tf.int64]

    def read_tensors(row: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        # What is called stateful is called in turn under TensorFlow's determinism.
        image, answer, place = tf.numpy_function(read, [row], types, stateful=False)
        return (
            tf.ensure_shape(image, pixels.shape[1:]),
            tf.ensure_shape(answer, targets.shape[1:]),
            tf.ensure_shape(place, []),
        )

    return read_tensors


def rows_of_step(count: int, batch_size: int, step: int, seed: int) -> list[int]:
    """Returns which of `count` images `training_batches` takes in a step (from 0), in the order of the batch."""
    return _rows(count, min(batch_size, count), step, step + 1, seed)[0].tolist()


def changed_views(pixels: np.ndarray | Photos, image_size: int, count: int, *, seed: int) -> Iterator[np.ndarray]:
    """Yields `count` times uint8 [n, S, S, 3], one `augmented_view` of every image, in the order of the images.

    Args:
        pixels: uint8 [n, H, W, 3], or photos that are decoded when they are needed and can all be read.
        image_size: S.
        count: how many views of each image.
        seed: of the views.
    """
    read, drawn = reader(pixels, np.zeros(len(pixels), np.int8)), small_seed(seed)
    for view in range(count):

        def changed(place: tf.Tensor, first: int = view * len(pixels)) -> tf.Tensor:
            image, _, _ = read(place)
            return augmented_view(image, image_size, tf.stack([drawn, first + tf.cast(place, tf.int32)]))

        views = map_in_order(tf.data.Dataset.range(len(pixels)), changed)
        whole = np.empty((len(pixels), image_size, image_size, 3), np.uint8)
        done = 0
        for part in views.batch(256).as_numpy_iterator():
            whole[done : done + len(part)] = part
            done += len(part)
        yield whole


def small_seed(seed: int) -> int:
    """Returns a seed in the 31 bits that TensorFlow draws by: itself, or one that stands for a larger one."""
    return seed if seed < 2**31 else int(np.random.default_rng(seed).integers(2**31))


def augmented_view(image: tf.Tensor, size: int, seed: tf.Tensor) -> tf.Tensor:
    """Returns one mildly changed view, uint8 [size, size, 3], of an image uint8 [H, W, 3].

    A crop of 60 to 100 % of the area with an aspect ratio of 3/4 to 4/3, a mirror image half of the time, brightness
    and contrast within 20 %, and a resize kernel drawn from RESIZE_METHODS, since devices resize differently.

    Args:
        image: uint8 [H, W, 3].
        size: side of the result in pixels.
        seed: int32 [2]; the same seed gives the same view.
    """
    draws = tf.random.stateless_uniform((8,), seed)
    height, width = tf.unstack(tf.cast(tf.shape(image)[:2], tf.float32))
    area = (0.6 + 0.4 * draws[0]) * height * width
    ratio = tf.exp((2.0 * draws[1] - 1.0) * tf.math.log(4.0 / 3.0))
    crop_height = tf.minimum(tf.sqrt(area / ratio), height)
    crop_width = tf.minimum(tf.sqrt(area * ratio), width)
    top = tf.cast(draws[2] * (height - crop_height), tf.int32)
    left = tf.cast(draws[3] * (width - crop_width), tf.int32)
    rows, columns = tf.cast(crop_height, tf.int32), tf.cast(crop_width, tf.int32)
    crop = image[top : top + rows, left : left + columns]
    kernel = tf.cast(draws[4] * len(RESIZE_METHODS), tf.int32)
    view = tf.switch_case(
        kernel,
        [
            lambda method=method: tf.cast(tf.image.resize(crop, (size, size), method, antialias=True), tf.float32)
            for method in RESIZE_METHODS
        ],
    )
    view = tf.cond(draws[5] < 0.5, lambda: view[:, ::-1], lambda: view)
    mean = tf.reduce_mean(view)
    contrast, brightness = 0.8 + 0.4 * draws[6], 0.8 + 0.4 * draws[7]
    return _to_uint8(((view - mean) * contrast + mean) * brightness)


def _to_uint8(values: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.clip_by_value(tf.round(values), 0.0, 255.0), tf.uint8)


def _rows(
    count: int, batch_size: int, first_step: int, last_step: int, seed: int, classes: ClassBatches | None = None
) -> np.ndarray:
    """Returns int64 [last_step - first_step, batch_size]: which images each step takes."""
    steps_a_pass = count // batch_size if classes is None else classes.steps_a_pass

    def order(number: int) -> np.ndarray:
        random = np.random.default_rng((seed, number))
        if classes is not None:
            return classes.rows_of_pass(random)
        return random.permutation(count)[: steps_a_pass * batch_size]

    passes = range(first_step // steps_a_pass, -(-last_step // steps_a_pass))
    steps = np.concatenate([np.empty(0, np.int64), *map(order, passes)]).reshape(-1, batch_size)
    start = first_step - (passes.start * steps_a_pass)
    return steps[start : start + last_step - first_step]
