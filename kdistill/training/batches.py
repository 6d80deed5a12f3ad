"""What a batch of `fit` may hold, and what is refused in a sentence instead of being ignored."""

from typing import Any

import numpy as np
import tensorflow as tf

from kdistill.errors import ArgumentError


def parts_of(data: Any) -> tuple[Any, tf.Tensor, tf.Tensor | None]:
    """Returns (images, targets, ids or None) of a batch (images, targets) or (images, (targets, ids)).

    Images pass as they are: uint8 or float [B, S, S, 3], or what a subclass takes. Targets are [B, Dt] or labels [B],
    ids integers [B]: a number for each training image, by which the bank recognises it.

    Raises:
        ArgumentError: sample weights (also from class weights), no targets, or ids that are no integers.
    """
    data = data if isinstance(data, tuple | list) else (data,)
    if len(data) > 2 and data[2] is not None:
        raise ArgumentError(
            "sample_weight and class_weight are not supported: the loss ranks the rows of a batch against each other, "
            "so no row has a loss of its own; repeat or leave out images instead"
        )
    if len(data) < 2 or data[1] is None:
        raise ArgumentError("a batch is (images, targets) or (images, (targets, ids)); no targets were given")
    images, targets = data[0], data[1]
    if not isinstance(targets, tuple | list):
        return images, tf.convert_to_tensor(targets), None
    if len(targets) != 2:
        raise ArgumentError(
            f"a batch is (images, targets) or (images, (targets, ids)); {len(targets)} targets were given"
        )
    ids = tf.convert_to_tensor(targets[1])
    if not ids.dtype.is_integer:
        raise ArgumentError(f"ids are integers, a number for each image; these are {ids.dtype.name}")
    return images, tf.convert_to_tensor(targets[0]), ids


def check_arrays(targets: Any) -> None:
    """Looks at targets that stand in memory as a whole, before Keras does: NaN would train to NaN without a word.

    Raises:
        ArgumentError: an array that holds no real numbers, or some that are not finite.
    """
    for array in targets if isinstance(targets, tuple) else (targets,):
        if not isinstance(array, np.ndarray):
            continue
        if array.dtype.kind not in "fiub" and array.dtype.name != "bfloat16":
            raise ArgumentError(f"targets are real numbers; these are {array.dtype.name}")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            row = int(np.argwhere(~np.isfinite(array))[0][0])
            raise ArgumentError(f"the targets of row {row} hold values that are not finite")


def vector_dim(data: Any, targets: Any) -> int | None:
    """Returns Dt of what `fit` is given, arrays or a dataset; None where the targets are labels or nobody knows yet."""
    if isinstance(data, tf.data.Dataset):
        spec = data.element_spec
        targets = spec[1] if isinstance(spec, tuple) and len(spec) > 1 else None
    if isinstance(targets, tuple | list) and targets:
        targets = targets[0]
    shape: tuple[int | None, ...] = getattr(targets, "shape", None) or ()
    return int(shape[1]) if len(shape) == 2 and shape[1] else None


def as_vectors(targets: tf.Tensor, loss: str) -> tf.Tensor:
    """Returns the teacher's vectors as float32 [B, Dt], whatever type of number they have.

    Raises:
        ArgumentError: targets that are no vectors.
    """
    if targets.shape.rank != 2:
        raise ArgumentError(
            f"{loss} ranks by the teacher's vectors [B, Dt]; targets of shape {list(targets.shape)} were given"
        )
    if targets.shape[1] == 0 or targets.dtype.is_complex or targets.dtype == tf.string:
        raise ArgumentError(
            f"{loss} ranks by the teacher's vectors, real numbers [B, Dt] with Dt of at least 1; "
            f"{targets.dtype.name} {list(targets.shape)} was given"
        )
    return tf.cast(targets, tf.float32)


def as_labels(targets: tf.Tensor, loss: str) -> tf.Tensor:
    """Returns class labels [B] or [B, 1] as they are.

    Raises:
        ArgumentError: targets that are no labels.
    """
    rank = targets.shape.rank
    if rank is not None and (rank > 2 or rank < 1 or (rank == 2 and targets.shape[1] != 1)):
        raise ArgumentError(f"{loss} learns from class labels [B]; targets of shape {list(targets.shape)} were given")
    return targets
