"""Datasets made on all cores: in order, and without the tuner that keeps whoever lets go of them waiting."""

import time

import numpy as np
import tensorflow as tf

from kdistill.data.mapping import map_in_order
from kdistill.data.pipeline import training_batches


def test_results_stand_in_the_order_of_the_elements():
    def late(number):
        time.sleep(0.002 * (8 - number % 8))
        return number

    numbers = tf.data.Dataset.range(64)
    found = map_in_order(numbers, lambda number: tf.numpy_function(late, [number], tf.int64, stateful=False))
    assert [int(number) for number in found] == list(range(64))


def test_a_training_has_no_tuner_to_wait_for():
    pixels = np.zeros((8, 32, 32, 3), np.uint8)
    options = {"batch_size": 4, "image_size": 32, "first_step": 0, "last_step": 2, "seed": 0, "augment": True}
    batches = training_batches(pixels, np.zeros((8, 2), np.float32), **options)
    assert batches.options().autotune.enabled is False
