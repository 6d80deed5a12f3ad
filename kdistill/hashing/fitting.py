"""Fits a hash head to the features before it, without a question: its codes learn to rank as the features do.

Our reading; the paper (arXiv 2112.08816) starts at random and has labels. What a teacher was asked about is a part of
the unlabelled images; the student's own features are known for all of them, and they are what the codes shall keep.
"""

from collections.abc import Iterable

import keras
import numpy as np
import tensorflow as tf

from kdistill.errors import ArgumentError
from kdistill.hashing.distiller import features_before, half_whitened, hash_head, initialise_hash_head
from kdistill.losses.softmax_ranking import softmax_ranking

STEPS, LEARNING_RATE = 150, 3e-3
VIEWS = 8
TEACHER_TEMPERATURE, STUDENT_TEMPERATURE = 0.05, 0.15
"""Chosen on validation images (benchmarks/results/NOTES.md). The student's is the higher one: to reach the same ranking
its cosines have to spread further, which draws the coordinates away from 0 and the signs change less."""
MOST_ROWS = 2048
"""Images that are ranked against each other in a step; of more, others in each step."""


def fit_hash_head(
    student: keras.Model,
    images: np.ndarray,
    views: Iterable[np.ndarray],
    *,
    steps: int = STEPS,
    seed: int = 0,
) -> None:
    """Starts the head (`initialise_hash_head`) and trains it alone, the rest of the student as it is.

        loss = softmax_ranking(targets, h),   every image in one view against all others in another view

    The targets are the half-whitened features of the images themselves: with the plain ones all bits crowd into the few
    directions in which features vary most. The rest of the student does not change, so a view is embedded once.

    Args:
        student: with a `HashHead`.
        images: uint8 [n, S, S, 3], unlabelled.
        views: one or more times uint8 [n, S, S, 3], changed views of the same images in the same order.
        steps: of Adam, its rate falling to 0 along a cosine; 0 leaves the start.
        seed: of the start and of the choice of rows and views.

    Raises:
        ArgumentError: no view, or not one of each image.
        KdistillError: the head takes in the same for all images.
    """
    initialise_hash_head(student, images, seed=seed)
    head, features = hash_head(student), features_before(student, images)
    targets = half_whitened(features).astype(np.float32)
    changed = [features_before(student, view) for view in views]
    if not changed or any(len(view) != len(features) for view in changed):
        counts = [len(view) for view in changed]
        raise ArgumentError(f"views hold all {len(features)} images and are one or more; those given hold {counts}")
    variables = head.trainable_variables
    optimizer = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(LEARNING_RATE, max(1, steps)))
    optimizer.build(variables)

    @tf.function
    def step(anchors: tf.Tensor, others: tf.Tensor, wanted: tf.Tensor) -> None:
        count = tf.shape(wanted)[0]
        mask = tf.concat([tf.zeros([count, count], tf.bool), ~tf.cast(tf.eye(count), tf.bool)], axis=1)
        with tf.GradientTape() as tape:
            loss = softmax_ranking(
                tf.concat([wanted, wanted], axis=0),
                head(tf.concat([anchors, others], axis=0)),
                mask=mask,
                teacher_temperature=TEACHER_TEMPERATURE,
                student_temperature=STUDENT_TEMPERATURE,
            )
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))

    rng = np.random.default_rng(seed)
    for _ in range(steps):
        chosen = rng.permutation(len(features))[:MOST_ROWS]
        anchors, others = (_mixed(changed, chosen, rng) for _ in range(2))
        step(tf.constant(anchors), tf.constant(others), tf.constant(targets[chosen]))


def _mixed(views: list[np.ndarray], rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Returns float32 [rows, C], each image in a view of its own."""
    return np.stack(views)[rng.integers(0, len(views), len(rows)), rows]
