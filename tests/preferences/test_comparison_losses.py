"""Losses on orders and preferences, against formulas and naive loops."""

import itertools
import math

import numpy as np
import pytest
import tensorflow as tf

from kdistill.errors import ArgumentError
from kdistill.preferences.losses import ListMLEOfOrders, order_surprise, preference_surprise


def test_three_candidates_by_hand():
    # exp(f) = 3, 2, 1: P(order) = 3/6 · 2/3 · 1/1 = 1/3, over three places.
    scores = tf.math.log([[3.0, 2.0, 1.0]])
    assert float(order_surprise(scores)) == pytest.approx(math.log(3) / 3, rel=1e-6)


def test_probabilities_of_all_orders_add_up_to_one():
    scores = np.random.default_rng(0).normal(size=4).astype(np.float32)
    orders = np.array(list(itertools.permutations(range(4))))
    total = sum(math.exp(-4 * float(order_surprise(tf.constant(scores[None, list(order)])))) for order in orders)
    assert total == pytest.approx(1.0, rel=1e-5)


def test_preferences_by_hand():
    # g = log 3: the student says 3/4. Against p = 1: -log 3/4; against p = 1/2: the mean of -log 3/4 and -log 1/4.
    gap = math.log(3)
    assert float(preference_surprise(tf.constant([gap]), tf.constant([1.0]))) == pytest.approx(math.log(4 / 3))
    both = (math.log(4 / 3) + math.log(4)) / 2
    assert float(preference_surprise(tf.constant([gap]), tf.constant([0.5]))) == pytest.approx(both)
    mean = preference_surprise(tf.constant([gap, gap]), tf.constant([1.0, 0.5]))
    assert float(mean) == pytest.approx((math.log(4 / 3) + both) / 2)


@pytest.mark.parametrize("probability", [0.0, 0.3, 0.5, 1.0])
def test_the_gradient_of_a_preference_is_what_the_student_says_too_much(probability):
    gap = tf.Variable([0.7])
    with tf.GradientTape() as tape:
        loss = preference_surprise(gap, tf.constant([probability]))
    said = 1 / (1 + math.exp(-0.7))
    assert float(tape.gradient(loss, gap)[0]) == pytest.approx(said - probability, abs=1e-6)


def test_lists_in_a_batch_against_a_loop():
    rows = np.random.default_rng(1).normal(size=(8, 5)).astype(np.float32)
    places = np.tile(np.arange(4, dtype=np.int32), 2)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    surprises = []
    for start in (0, 4):
        scores = [float(unit[start] @ unit[start + place]) / 0.2 for place in (1, 2, 3)]
        for place in range(3):
            surprises.append(math.log(sum(math.exp(score) for score in scores[place:])) - scores[place])
    loss = ListMLEOfOrders(0.2)
    assert float(loss.call(tf.constant(places), tf.constant(rows))) == pytest.approx(np.mean(surprises), rel=1e-5)
    again = ListMLEOfOrders.from_config(loss.get_config())
    assert float(again.call(tf.constant(places), tf.constant(rows))) == pytest.approx(np.mean(surprises), rel=1e-5)


def test_equal_and_zero_rows_have_finite_gradients():
    rows = tf.Variable(np.zeros((4, 3), np.float32))
    with tf.GradientTape() as tape:
        loss = ListMLEOfOrders().call(tf.constant([0, 1, 2, 3]), rows)
    assert float(loss) == pytest.approx((math.log(3) + math.log(2)) / 3)
    assert np.isfinite(tape.gradient(loss, rows).numpy()).all()


def test_a_temperature_must_be_above_zero():
    with pytest.raises(ArgumentError, match="above 0"):
        ListMLEOfOrders(0.0)
