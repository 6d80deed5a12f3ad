"""Datasets whose elements are made on all cores, in order, at a fixed width."""

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import tensorflow as tf

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
"""Cores that this process may use."""


def map_in_order(dataset: "tf.data.Dataset", function: Callable[..., Any]) -> "tf.data.Dataset":
    """Returns a dataset of the function's results, in the order of the elements that it is called with.

    Nothing tunes the width while it runs: TensorFlow's tuner sleeps for twice as long each time, up to a minute, and
    whoever lets go of the dataset often has to wait until it wakes (TensorFlow 2.21), at each pause of a training.

    Args:
        dataset: of the elements.
        function: of an element's tensors.
    """
    import tensorflow as tf

    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.map(function, num_parallel_calls=CORES, deterministic=True).with_options(options)
