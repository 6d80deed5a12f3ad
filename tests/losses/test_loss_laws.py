"""Laws that hold for whole families: order of rows, rotation, scale, what a perfect student gets, what masks hide."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from kdistill import losses
from kdistill.layers import JointSpaceInterpolation

FROM_TEACHER = [name for name in losses.names() if not losses.get(name).needs_labels]
JOINT = [name for name in losses.names() if losses.get(name).joint]
ROTATION_FREE = [name for name in FROM_TEACHER if not losses.get(name).needs_equal_dims]
SCALE_FREE = [name for name in FROM_TEACHER if name != "similarity_preserving"]
EQUAL_TEMPERATURES = {"teacher_temperature": 0.2, "student_temperature": 0.2}
MATCHING = {name: EQUAL_TEMPERATURES for name in ("softmax_ranking", "csd", "seed")} | {"darkrank": {"form": "soft"}}
LEAST_WHEN_MATCHED = [name for name in FROM_TEACHER if name not in ("list_mle", "pairwise_logistic")]

seeds = st.integers(0, 2**32 - 1)
few = settings(max_examples=5, deadline=None)


def draw(seed: int, count: int = 6, dim: int = 4) -> tuple[np.random.Generator, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng, *(rng.normal(size=(count, dim)).astype("float32") for _ in range(2))


def value(name: str, y_true, y_pred, **options) -> float:
    return float(losses.get(name, **options).call(y_true, y_pred))


@pytest.mark.parametrize("name", losses.names())
@few
@given(seed=seeds)
def test_the_order_of_rows_does_not_matter(name, seed):
    rng, target, student = draw(seed)
    if losses.get(name).needs_labels:
        target = rng.integers(0, 3, 6)
    order = rng.permutation(6)
    assert value(name, target[order], student[order]) == pytest.approx(value(name, target, student), rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("name", ROTATION_FREE)
@few
@given(seed=seeds)
def test_rotating_either_space_changes_nothing(name, seed):
    rng, teacher, student = draw(seed)
    one, two = (np.linalg.qr(rng.normal(size=(4, 4)))[0].astype("float32") for _ in range(2))
    assert value(name, teacher @ one, student @ two) == pytest.approx(value(name, teacher, student), rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("name", SCALE_FREE)
@few
@given(seed=seeds)
def test_lengths_of_vectors_do_not_matter(name, seed):
    rng, teacher, student = draw(seed)
    lengths = rng.uniform(0.1, 10, size=(2, 6, 1)).astype("float32")
    scaled = value(name, lengths[0] * teacher, lengths[1] * student)
    assert scaled == pytest.approx(value(name, teacher, student), rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("name", LEAST_WHEN_MATCHED)
@few
@given(seed=seeds)
def test_a_student_like_the_teacher_has_the_least_loss(name, seed):
    _, teacher, student = draw(seed)
    options = MATCHING.get(name, {})
    variable = tf.constant(teacher)
    with tf.GradientTape() as tape:
        tape.watch(variable)
        least = losses.get(name, **options).call(teacher, variable)
    assert float(least) == pytest.approx(0.0, abs=1e-5)
    assert value(name, teacher, student, **options) > 1e-4
    np.testing.assert_allclose(tape.gradient(least, variable), 0.0, atol=1e-4)


def circle(angles: np.ndarray) -> np.ndarray:
    """Rows on the unit circle: angles within half a turn of the first order the similarities to it."""
    return np.stack([np.cos(angles), np.sin(angles)], 1).astype("float32")


@few
@given(seed=seeds)
def test_no_order_is_likelier_than_that_of_the_scores_themselves(seed):
    _, teacher, student = draw(seed)
    assert value("list_mle", student, student) <= value("list_mle", teacher, student) + 1e-4


@few
@given(seed=seeds)
def test_pairs_in_the_right_order_cost_less_than_log_two_and_reversed_ones_more(seed):
    angles = np.append(0.0, np.sort(np.random.default_rng(seed).uniform(0.1, 1.5, 5)))
    reverse = np.append(0.0, 1.6 - angles[1:])
    mask = np.arange(6)[None, :] != 0
    agreed = float(losses.pairwise_logistic(circle(angles), circle(angles), mask=mask))
    opposed = float(losses.pairwise_logistic(circle(angles), circle(reverse), mask=mask))
    assert agreed < np.log(2) < opposed


@few
@given(seed=seeds)
def test_list_mle_sees_no_more_of_the_teacher_than_its_order(seed):
    rng = np.random.default_rng(seed)
    angles = np.append(0.0, np.sort(rng.uniform(0.1, 1.5, 5)))
    mask = np.arange(6)[None, :] != 0
    student = rng.normal(size=(6, 3)).astype("float32")
    expected = float(losses.list_mle(circle(angles), student, mask=mask))
    assert float(losses.list_mle(circle(2 * angles), student, mask=mask)) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("name", JOINT)
@few
@given(seed=seeds)
def test_rows_hidden_by_the_mask_have_no_effect_and_no_gradient(name, seed):
    rng, teacher, student = draw(seed)
    mask = np.zeros((3, 6), bool)
    mask[:, :5] = ~np.eye(3, 5, dtype=bool)
    other_teacher, other_student = teacher.copy(), student.copy()
    other_teacher[5], other_student[5] = rng.normal(size=(2, 4))
    loss = losses.get(name)
    variable = tf.constant(student)
    with tf.GradientTape() as tape:
        tape.watch(variable)
        total = loss.call(teacher, variable, mask=mask)
    assert float(loss.call(other_teacher, other_student, mask=mask)) == pytest.approx(float(total), rel=1e-5)
    gradient = tape.gradient(total, variable).numpy()
    assert np.all(gradient[5] == 0.0)
    assert np.any(gradient[:5] != 0.0)


@pytest.mark.parametrize("name", JOINT)
def test_a_mask_of_all_other_rows_is_no_mask(name):
    _, teacher, student = draw(0)
    loss = losses.get(name)
    expected = float(loss.call(teacher, student))
    assert float(loss.call(teacher, student, mask=~np.eye(6, dtype=bool))) == pytest.approx(expected, rel=1e-6)


@few
@given(seed=seeds, renormalise=st.booleans())
def test_squared_errors_on_plain_mixtures_only_weigh_the_same_residual_anew(seed, renormalise):
    """Without renormalising, the residual over the joint space is A R A^T, R that of the originals alone."""
    _, teacher, student = draw(seed, count=5)
    layer = JointSpaceInterpolation(7, renormalise=renormalise, distribution="uniform", seed=seed % 1000)
    z_student, z_teacher, parents = (output.numpy() for output in layer((student, teacher)))
    # A is read off mixtures of orthogonal rows, drawn with the same seed.
    twin = JointSpaceInterpolation(7, renormalise=False, distribution="uniform", seed=seed % 1000)
    mixing = twin((tf.eye(5), tf.eye(5)))[0].numpy()
    residual = z_student[:5] @ z_student[:5].T - z_teacher[:5] @ z_teacher[:5].T
    joint_residual = mixing @ residual @ mixing.T
    mask = ~np.eye(12, dtype=bool)
    expected = np.mean(joint_residual[mask] ** 2)
    got = float(losses.gram(z_teacher, z_student, mask=mask, similarity="dot"))
    # Renormalising is what takes mixtures out of that identity.
    assert (got == pytest.approx(expected, rel=1e-3)) != renormalise
    assert parents.shape == (7, 2)
