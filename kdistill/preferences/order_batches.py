"""Batches of whole lists: a query and its candidates in the teacher's order, for training a student on orders alone."""

import numpy as np
import tensorflow as tf

from kdistill.data.disk.photos import Photos
from kdistill.data.mapping import map_in_order
from kdistill.data.pipeline import augmented_view, reader, small_seed
from kdistill.errors import ArgumentError


def order_batches(
    pixels: np.ndarray | Photos,
    lists: np.ndarray,
    *,
    batch_size: int,
    image_size: int,
    first_step: int,
    last_step: int,
    seed: int,
    augment: bool,
    lists_a_batch: int = 2,
    replicas: int = 1,
    part: range = range(1),
) -> tf.data.Dataset:
    """Returns batches (images uint8 [B, S, S, 3], places int32 [B]) for the steps first_step .. last_step - 1.

    A batch holds `lists_a_batch` lists of B / lists_a_batch rows: the query (place 0), then candidates drawn from its
    list, in the teacher's order (places 1, 2, ...): a part of an order is an order too, so lists may be longer than
    what fits. Lists come in fresh permutations; two runs with the same seed see the same batches, whichever step they
    start from.

    Args:
        pixels: uint8 [n, H, W, 3], or photos that are decoded when they are needed and can all be read; of the size S
            already where nothing is augmented.
        lists: int [m, 1 + k], rows of `pixels`: the query, then its candidates, the best first.
        batch_size: images a step; B is the largest multiple of `lists_a_batch` in it, or less with short lists.
        image_size: S, the side that the student takes.
        first_step: number of steps that were done before.
        last_step: number of steps when training ends.
        seed: of order, choice and augmentation.
        augment: mild changes to the student's view; the teacher's answer stays.
        lists_a_batch: lists in one batch.
        replicas: 1; lists are not spread over several devices.
        part: the whole batch.

    Raises:
        ArgumentError: a batch too small for a query and two candidates of each list, no list, or several replicas.
    """
    if replicas > 1 or part != range(1):
        raise ArgumentError("a student learns orders without a ranker on one device alone; leave --strategy at none")
    length = min(batch_size // lists_a_batch, lists.shape[1])
    if length < 3 or not len(lists):
        raise ArgumentError(
            f"a batch of {batch_size} images cannot hold {lists_a_batch} lists of a query and at least 2 candidates, "
            f"from {len(lists)} lists of {lists.shape[1] - 1}"
        )
    rows = np.stack([_rows(lists, length, lists_a_batch, step, seed) for step in range(first_step, last_step)])
    positions = np.arange(first_step * rows.shape[1], last_step * rows.shape[1], dtype=np.int32)
    places = np.tile(np.arange(length, dtype=np.int32), len(positions) // length)
    read, drawn = reader(pixels, np.zeros(len(pixels), np.int32)), small_seed(seed)

    def example(position: tf.Tensor, row: tf.Tensor, place: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        image, _, _ = read(row)
        if augment:
            image = augmented_view(image, image_size, tf.stack([drawn, position]))
        return image, place

    dataset = map_in_order(tf.data.Dataset.from_tensor_slices((positions, rows.reshape(-1), places)), example)
    return dataset.batch(rows.shape[1], drop_remainder=True).prefetch(2)


def _rows(lists: np.ndarray, length: int, count: int, step: int, seed: int) -> np.ndarray:
    """Returns int64 [count * length], the images of one step."""
    chosen = []
    for number in range(step * count, (step + 1) * count):
        turn, place = divmod(number, len(lists))
        one = lists[np.random.default_rng((seed, turn)).permutation(len(lists))[place]]
        drawn = np.random.default_rng((seed, turn, place)).permutation(len(one) - 1)[: length - 1]
        chosen.append(np.concatenate([one[:1], one[1:][np.sort(drawn)]]))
    return np.concatenate(chosen)
