"""A training small enough for every test of it: its data, its distiller, and what it changes."""

import keras
import numpy as np
import pytest

from kdistill import students
from kdistill.data.pipeline import training_batches
from kdistill.layers import EmbeddingBank, JointSpaceInterpolation
from kdistill.training.distiller import Distiller

RANDOM = np.random.default_rng(0)
PIXELS = RANDOM.integers(0, 256, (20, 16, 16, 3), np.uint8)
TEACHER = RANDOM.normal(size=(20, 6)).astype(np.float32)


def first_on_both(first, *others):
    """Parameters of which one is tried on both stacks."""
    values = first if isinstance(first, tuple) else (first,)
    return [pytest.param(*values, marks=pytest.mark.both_stacks), *others]


def batches(first_step, last_step):
    return training_batches(
        PIXELS,
        TEACHER,
        batch_size=6,
        image_size=8,
        first_step=first_step,
        last_step=last_step,
        seed=4,
        augment=True,
    )


def distiller_of(steps=10, optimizer=None, **compiled):
    keras.utils.set_random_seed(3)
    student = students.build("small_cnn", alpha=0.25, image_size=8, embedding_dim=4)
    distiller = Distiller(student, JointSpaceInterpolation(5), EmbeddingBank(8))
    distiller.build_joint_space(TEACHER.shape[1])
    schedule = keras.optimizers.schedules.CosineDecay(0.01, steps)
    distiller.compile(keras.optimizers.Adam(schedule) if optimizer is None else optimizer, **compiled)
    distiller.optimizer.build(distiller.trainable_variables)
    return distiller


def state_of(distiller):
    """All that the training changes: student, bank, count of the interpolation, optimizer."""
    variables = distiller.optimizer.variables
    variables = variables() if callable(variables) else variables
    parts = [distiller.student, distiller.bank, distiller.interpolation]
    weights = [weight for part in parts for weight in part.get_weights()]
    return [np.asarray(value) for value in [*weights, *variables]]


def same_bits(states):
    first = states[0]
    for other in states[1:]:
        assert len(first) == len(other)
        for one, two in zip(first, other, strict=True):
            assert one.tobytes() == two.tobytes()


def quick():
    """A distiller whose step is traced in a moment."""
    keras.utils.set_random_seed(3)
    student = students.build("small_cnn", alpha=0.25, image_size=8, embedding_dim=6)
    distiller = Distiller(student)
    distiller.compile(keras.optimizers.SGD(0.01), loss="regression")
    return distiller
