"""A student that was cut follows the large one: the distance by hand, and a training that brings it nearer."""

import keras
import numpy as np
import tensorflow as tf
from trained import student_of

from kdistill.compression import RecoveringDistiller, channel_paths, compactors, insert_compactors, merge
from kdistill.compression.recovery import distance


def test_distance_is_the_share_of_the_variance_that_is_missed_and_five_times_what_the_cosine_lacks():
    random = np.random.default_rng(0)
    small, large = (random.normal(size=(3, 4, 4, 5)).astype(np.float32) for _ in range(2))
    embeddings = [keras.utils.normalize(random.normal(size=(3, 6)).astype(np.float32)) for _ in range(2)]
    found = distance([embeddings[0], small], [embeddings[1], large])
    variance = np.mean([large[..., channel].var() for channel in range(5)])
    lack = np.mean([1 - embeddings[0][row] @ embeddings[1][row] for row in range(3)])
    np.testing.assert_allclose(found, ((small - large) ** 2).mean() / variance + 5 * lack, rtol=1e-5)
    assert float(distance([embeddings[0], large], [embeddings[0], large])) < 1e-5


def test_training_brings_the_cut_student_nearer_and_leaves_the_large_one_alone():
    large, pixels = student_of("mobilenet_v2", alpha=0.35, size=32, dim=8)
    paths = channel_paths(large)
    compacted = insert_compactors(large)
    for compactor in compactors(compacted, paths).values():
        kernel = np.asarray(compactor.kernel).copy()
        kernel[:, ::2] = 0
        compactor.kernel.assign(kernel)
    small = merge(compacted)
    before = [weight.copy() for weight in large.get_weights()]
    distiller = RecoveringDistiller(small, large=large, paths=paths)
    distiller.compile(keras.optimizers.Adam(1e-3), loss="softmax_ranking")
    answers = tf.constant(np.random.default_rng(1).normal(size=(len(pixels), 7)), tf.float32)

    def apart() -> float:
        return float(distance(distiller.watched(pixels, training=False), distiller._before(pixels)))

    first = apart()
    distiller.fit(pixels, answers, batch_size=len(pixels), epochs=20, verbose=0)
    assert apart() < 0.8 * first
    for ours, theirs in zip(large.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    owned = {id(weight) for weight in small.trainable_variables}
    assert {id(weight) for weight in distiller.trainable_variables} == owned
