"""Two teachers at once: the parts of the targets, which rows and mixtures the second one ranks, and saving."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kdistill import losses
from kdistill.errors import ArgumentError
from kdistill.layers import JointSpaceInterpolation, pair_mask
from kdistill.losses.two_spaces import TwoSpaces, joined_answers

ASKED = np.array([0, 2, 5, 6])


@pytest.fixture
def world():
    random = np.random.default_rng(0)
    return (random.normal(size=shape).astype(np.float32) for shape in ((8, 4), (len(ASKED), 3), (8, 5)))


def test_joined_rows_are_equally_long_and_say_who_was_asked(world):
    everywhere, asked, _ = world
    joined = joined_answers(everywhere, asked, ASKED)
    assert joined.shape == (8, 4 + 3 + 1)
    np.testing.assert_allclose(np.linalg.norm(joined, axis=1), np.sqrt(2), rtol=1e-6)
    assert (np.flatnonzero(joined[:, -1] == 0) == ASKED).all()
    cosines = joined[ASKED, 4:-1] @ joined[ASKED, 4:-1].T
    unit = asked / np.linalg.norm(asked, axis=1, keepdims=True)
    np.testing.assert_allclose(cosines, unit @ unit.T, atol=1e-6)


def test_the_loss_is_the_sum_of_the_two_rankings(world):
    everywhere, asked, student = world
    loss = losses.get("softmax_ranking", teacher_temperature=0.2, student_temperature=0.3)
    joined = joined_answers(everywhere, asked, ASKED)
    found = TwoSpaces(loss, 4, weight=0.7).call(joined, student)
    wanted = loss.call(everywhere, student) + 0.7 * loss.call(asked, student[ASKED])
    assert float(found) == pytest.approx(float(wanted), rel=1e-5)


def test_without_a_second_answer_the_first_teacher_alone_counts(world):
    everywhere, _, student = world
    loss = losses.get("softmax_ranking")
    joined = joined_answers(everywhere, np.zeros((0, 3), np.float32), np.array([], np.int64))
    value = TwoSpaces(loss, 4).call(joined, student)
    assert float(value) == pytest.approx(float(loss.call(everywhere, student)), rel=1e-5)


@pytest.mark.parametrize("renormalise", [True, False])
def test_mixtures_are_those_of_either_space_and_only_asked_parents_count(world, renormalise):
    everywhere, asked, student = world
    joined = joined_answers(everywhere, asked, ASKED)
    layer = JointSpaceInterpolation(40, renormalise=renormalise, seed=3)
    rows, answers, parents = (np.asarray(part) for part in layer((student, joined), evaluating=True))
    both = np.isin(parents, ASKED).all(axis=1)
    assert both.any()
    assert ((answers[8:, -1] == 0) == both).all()
    weights = np.asarray(answers[8:, :4])
    unit = everywhere / np.linalg.norm(everywhere, axis=1, keepdims=True)
    for mixture, (one, other) in zip(weights, parents, strict=True):
        # Within the plane of its parents in the first space.
        basis = np.linalg.qr(unit[[one, other]].T)[0]
        np.testing.assert_allclose(basis @ (basis.T @ mixture), mixture, atol=1e-5)
    mask = pair_mask(tf.constant(parents), 8)
    loss = losses.get("softmax_ranking")
    found = TwoSpaces(loss, 4, weight=1.0).call(answers, rows, mask=mask)
    counts = np.concatenate([np.isin(np.arange(8), ASKED), both])
    among = np.asarray(mask) & counts[:8, None] & counts[None, :]
    wanted = loss.call(answers[:, :4], rows, mask=mask) + loss.call(answers[:, 4:-1], rows, mask=tf.constant(among))
    assert float(found) == pytest.approx(float(wanted), rel=1e-5)


def test_it_is_saved_and_loaded(world):
    everywhere, asked, student = world
    joined = joined_answers(everywhere, asked, ASKED)
    loss = TwoSpaces(losses.get("softmax_ranking", teacher_temperature=0.2), 4, weight=0.3)
    config = keras.saving.serialize_keras_object(loss)
    again = keras.saving.deserialize_keras_object(config)
    assert float(again.call(joined, student)) == float(loss.call(joined, student))


def test_a_loss_on_the_batch_alone_is_refused():
    with pytest.raises(ArgumentError, match="ranks no joint space"):
        TwoSpaces(losses.get("rkd"), 4)
