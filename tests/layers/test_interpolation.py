"""Mixtures: the same pair and weight in both spaces, never an image with itself, reproducible by seed."""

import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from kdistill.errors import ArgumentError
from kdistill.layers import JointSpaceInterpolation


def rows(batch: int, dim: int, seed: int) -> tf.Tensor:
    return tf.constant(np.random.default_rng(seed).normal(size=(batch, dim)), tf.float32)


def unit(array) -> np.ndarray:
    array = np.asarray(array, np.float64)
    return array / np.linalg.norm(array, axis=-1, keepdims=True)


def recovered_weights(mixtures, parents, originals) -> np.ndarray:
    """Solves x~ = w x_i + (1 - w) x_j for w, for each unnormalised mixture."""
    first, second = originals[parents[:, 0]], originals[parents[:, 1]]
    span = first - second
    return np.sum((mixtures - second) * span, 1) / np.sum(span * span, 1)


@pytest.mark.parametrize("distribution", ["uniform", "beta", "fixed"])
def test_both_spaces_share_pair_and_weight(distribution):
    layer = JointSpaceInterpolation(40, distribution=distribution, renormalise=False)
    student, teacher = rows(6, 3, 0), rows(6, 7, 1)
    z_student, z_teacher, parents = (output.numpy() for output in layer((student, teacher)))
    np.testing.assert_allclose(z_student[:6], unit(student), atol=1e-6)
    np.testing.assert_allclose(z_teacher[:6], unit(teacher), atol=1e-6)
    weights = recovered_weights(z_student[6:], parents, z_student)
    np.testing.assert_allclose(weights, recovered_weights(z_teacher[6:], parents, z_teacher), atol=1e-5)
    first, second = z_teacher[parents[:, 0]], z_teacher[parents[:, 1]]
    np.testing.assert_allclose(z_teacher[6:], weights[:, None] * first + (1 - weights[:, None]) * second, atol=1e-5)
    assert np.all((weights > -1e-5) & (weights < 1 + 1e-5))


@pytest.mark.parametrize("pairing", ["random", "teacher_knn", "far"])
@pytest.mark.parametrize("batch", [2, 3, 9])
def test_an_image_is_never_mixed_with_itself(pairing, batch):
    parents = JointSpaceInterpolation(500, pairing=pairing)((rows(batch, 3, 0), rows(batch, 4, 1)))[2].numpy()
    assert np.all(parents[:, 0] != parents[:, 1])
    assert set(parents[:, 0]) == set(range(batch))
    assert parents.min() >= 0
    assert parents.max() < batch


def test_random_pairing_draws_every_pair():
    parents = JointSpaceInterpolation(500)((rows(4, 3, 0), rows(4, 4, 1)))[2].numpy()
    assert {tuple(pair) for pair in parents} == {(i, j) for i in range(4) for j in range(4) if i != j}


@pytest.mark.parametrize(("pairing", "nearest"), [("teacher_knn", True), ("far", False)])
def test_pairing_by_the_teacher_draws_among_its_nearest_or_farthest(pairing, nearest):
    teacher = rows(7, 4, 1)
    layer = JointSpaceInterpolation(300, pairing=pairing, neighbours=2)
    parents = layer((rows(7, 3, 0), teacher))[2].numpy()
    cosines = unit(teacher) @ unit(teacher).T
    for i in range(7):
        others = sorted((j for j in range(7) if j != i), key=lambda j: cosines[i, j], reverse=nearest)
        assert {int(j) for j in parents[parents[:, 0] == i, 1]} == set(others[:2])


@pytest.mark.parametrize(
    ("options", "law"),
    [
        ({"distribution": "uniform"}, scipy.stats.uniform()),
        ({"distribution": "beta", "alpha": 0.3}, scipy.stats.beta(0.3, 0.3)),
        ({"distribution": "beta", "alpha": 2.0}, scipy.stats.beta(2.0, 2.0)),
    ],
)
def test_weights_follow_their_distribution(options, law):
    layer = JointSpaceInterpolation(20_000, renormalise=False, **options)
    # Orthogonal rows: the weight can be read off a mixture.
    z_student, _, parents = (output.numpy() for output in layer((tf.eye(3), tf.eye(3))))
    weights = z_student[3:][np.arange(20_000), parents[:, 0]]
    assert scipy.stats.kstest(weights, law.cdf).pvalue > 1e-3


def test_fixed_weight_is_that_weight():
    layer = JointSpaceInterpolation(5, distribution="fixed", weight=0.25, renormalise=False)
    z_student, _, parents = (output.numpy() for output in layer((tf.eye(3), tf.eye(3))))
    np.testing.assert_allclose(z_student[3:][np.arange(5), parents[:, 0]], 0.25)
    np.testing.assert_allclose(z_student[3:][np.arange(5), parents[:, 1]], 0.75)


def test_renormalised_mixtures_have_unit_norm_and_others_do_not():
    student, teacher = rows(6, 3, 0), rows(6, 7, 1)
    for renormalise in (True, False):
        layer = JointSpaceInterpolation(30, distribution="fixed", renormalise=renormalise)
        norms = np.linalg.norm(layer((student, teacher))[1].numpy()[6:], axis=1)
        assert np.allclose(norms, 1.0, atol=1e-5) == renormalise


def test_same_seed_same_numbers_and_another_seed_or_call_others():
    inputs = rows(6, 3, 0), rows(6, 7, 1)
    first, twin, other = JointSpaceInterpolation(8, seed=1), JointSpaceInterpolation(8, seed=1), None
    calls = [first(inputs)[0].numpy() for _ in range(2)]
    np.testing.assert_array_equal(calls, [twin(inputs)[0].numpy() for _ in range(2)])
    other = JointSpaceInterpolation(8, seed=2)(inputs)[0].numpy()
    assert not np.allclose(calls[0], calls[1])
    assert not np.allclose(calls[0], other)


def test_a_restored_layer_goes_on_where_it_stopped():
    inputs = rows(6, 3, 0), rows(6, 7, 1)
    layer = JointSpaceInterpolation(8, seed=1)
    layer(inputs)
    restored = JointSpaceInterpolation.from_config(layer.get_config())
    restored.build([(None, 3), (None, 7)])
    restored.set_weights(layer.get_weights())
    np.testing.assert_array_equal(layer(inputs)[0], restored(inputs)[0])


@pytest.mark.parametrize("jit_compile", [False, True])
def test_graphs_take_any_batch_and_advance_the_count(jit_compile):
    layer = JointSpaceInterpolation(5, pairing="teacher_knn")
    graph = tf.function(lambda student, teacher: layer((student, teacher)), jit_compile=jit_compile)
    for batch in (1, 4):
        z_student, z_teacher, parents = graph(rows(batch, 3, batch), rows(batch, 4, batch))
        assert z_student.shape == (batch + 5, 3)
        assert z_teacher.shape == (batch + 5, 4)
        assert np.all(parents[:, 0] != parents[:, 1]) == (batch > 1)
    assert int(layer.get_weights()[0]) == 2


def test_eager_and_graph_draw_the_same():
    inputs = rows(6, 3, 0), rows(6, 7, 1)
    eager, graph = JointSpaceInterpolation(8, seed=3), JointSpaceInterpolation(8, seed=3)
    np.testing.assert_allclose(eager(inputs)[0], tf.function(graph)(inputs)[0], atol=1e-6)


def test_a_single_row_has_no_mixtures():
    student = rows(1, 3, 0)
    with tf.GradientTape() as tape:
        tape.watch(student)
        z_student, z_teacher, parents = JointSpaceInterpolation(4)((student, rows(1, 5, 1)))
        total = tf.reduce_sum(z_student**2)
    assert np.all(parents.numpy() == -1)
    assert np.all(z_student.numpy()[1:] == 0.0)
    assert np.all(z_teacher.numpy()[1:] == 0.0)
    assert np.all(np.isfinite(tape.gradient(total, student)))


def test_no_mixtures_leaves_the_originals():
    z_student, _, parents = JointSpaceInterpolation(0)((rows(4, 3, 0), rows(4, 5, 1)))
    assert z_student.shape == (4, 3)
    assert parents.shape == (0, 2)


def test_gradients_reach_the_student_and_not_the_teacher():
    student, teacher = rows(4, 3, 0), rows(4, 5, 1)
    with tf.GradientTape() as tape:
        tape.watch([student, teacher])
        z_student, z_teacher, _ = JointSpaceInterpolation(6)((student, teacher))
        total = tf.reduce_sum(z_student**3) + tf.reduce_sum(z_teacher**3)
    student_gradient, teacher_gradient = tape.gradient(total, [student, teacher])
    assert np.all(np.isfinite(student_gradient))
    assert np.any(student_gradient.numpy() != 0.0)
    assert teacher_gradient is None


def test_outputs_stay_float32_under_mixed_precision():
    policy = keras.mixed_precision.global_policy() if hasattr(keras.mixed_precision, "global_policy") else "float32"
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        outputs = JointSpaceInterpolation(3)((tf.cast(rows(4, 3, 0), tf.float16), rows(4, 5, 1)))
    finally:
        keras.mixed_precision.set_global_policy(policy)
    assert [output.dtype for output in outputs] == [tf.float32, tf.float32, tf.int32]


def test_output_shapes_are_known_before_the_call():
    layer = JointSpaceInterpolation(5)
    assert layer.compute_output_shape([(None, 3), (None, 4)]) == ((None, 3), (None, 4), (5, 2))
    assert layer.compute_output_shape([(2, 3), (2, 4)]) == ((7, 3), (7, 4), (5, 2))


@pytest.mark.parametrize(
    "options",
    [
        {"num_mixtures": -1},
        {"distribution": "normal"},
        {"pairing": "near"},
        {"alpha": 0.0},
        {"weight": 1.5},
        {"neighbours": 0},
    ],
)
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ArgumentError):
        JointSpaceInterpolation(**options)
