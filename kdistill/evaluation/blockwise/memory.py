"""When memory runs out: the same work in smaller pieces, and a word about it."""

from collections.abc import Callable
from typing import TypeVar

import numpy as np
from absl import logging

from kdistill.errors import KdistillError

Result = TypeVar("Result")

LEAST_MEMORY_MB = 16


def in_smaller_blocks(evaluate: Callable[[int], Result], max_memory_mb: int) -> Result:
    """Returns `evaluate(max_memory_mb)`; where memory runs out, that of half as many MiB, and so on down to 16.

    Scores do not depend on the size of the blocks. What fails is an allocation; a process that the system kills for its
    memory cannot be helped from inside.

    Raises:
        KdistillError: 16 MiB are too much as well.
    """
    while True:
        try:
            return evaluate(max_memory_mb)
        except MemoryError as error:
            if max_memory_mb <= LEAST_MEMORY_MB:
                raise KdistillError(
                    f"there is not enough memory to evaluate, even in blocks of {max_memory_mb} MiB"
                ) from error
            smaller = max(LEAST_MEMORY_MB, max_memory_mb // 2)
            logging.warning(
                "memory ran out: evaluating again in blocks of %d instead of %d MiB (--max_memory_mb)",
                smaller,
                max_memory_mb,
            )
            max_memory_mb = smaller


def in_smaller_batches(embed: Callable[[np.ndarray], np.ndarray], pixels: np.ndarray) -> np.ndarray:
    """Returns `embed(pixels)`, [B, D]; where memory runs out, in halves, and so on down to one image.

    Raises:
        KdistillError: one image is too much as well.
    """
    try:
        return np.asarray(embed(pixels), np.float32)
    except Exception as error:
        # TensorFlow's class is known by its name: what is computed without it needs no import of seconds.
        if not isinstance(error, MemoryError) and type(error).__name__ != "ResourceExhaustedError":
            raise
        if len(pixels) == 1:
            raise KdistillError("there is not enough memory to embed even one image at a time") from error
        logging.warning("memory ran out: embedding %d images in two batches", len(pixels))
    half = len(pixels) // 2
    return np.concatenate([in_smaller_batches(embed, pixels[:half]), in_smaller_batches(embed, pixels[half:])])
