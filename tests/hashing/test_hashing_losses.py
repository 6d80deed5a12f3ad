"""The losses of binary codes against values by hand and naive loops."""

import math

import numpy as np
import pytest
import tensorflow as tf

from kdistill.hashing.losses import likelihood_quantisation, proxy_cross_entropy, self_distillation

RNG = np.random.default_rng(0)
CODES = np.tanh(RNG.normal(size=(6, 5))).astype("float32")


def test_self_distillation_is_one_minus_the_cosine():
    weak = np.array([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]], "float32")
    strong = np.array([[3.0, 0.0], [0.0, -1.0], [1.0, 0.0]], "float32")
    expected = (0.0 + 2.0 + 1.0 - math.sqrt(0.5)) / 3
    assert float(self_distillation(weak, strong)) == pytest.approx(expected, rel=1e-5)


def test_only_the_strong_view_learns_from_it():
    weak, strong = tf.constant(CODES), tf.constant(CODES[::-1].copy())
    with tf.GradientTape() as tape:
        tape.watch([weak, strong])
        loss = self_distillation(weak, strong)
    to_weak, to_strong = tape.gradient(loss, [weak, strong])
    assert to_weak is None
    assert np.any(np.abs(to_strong) > 1e-3)


@pytest.mark.parametrize("sigma", [0.3, 0.5, 2.0])
def test_quantisation_is_the_cross_entropy_of_two_gaussians(sigma):
    def cross_entropy(bit: float, likelihood: float) -> float:
        return -bit * math.log(likelihood) - (1 - bit) * math.log(1 - likelihood)

    total = 0.0
    for h in CODES.ravel().astype(float):
        bit = 1.0 if h >= 0 else 0.0
        total += cross_entropy(bit, math.exp(-((h - 1) ** 2) / (2 * sigma**2)))
        total += cross_entropy(1 - bit, math.exp(-((h + 1) ** 2) / (2 * sigma**2)))
    assert float(likelihood_quantisation(CODES, sigma=sigma)) == pytest.approx(total / CODES.size, rel=1e-4)


def test_quantisation_by_hand_at_the_middle_and_at_the_ends():
    # At 0 both Gaussians give exp(-2); at 1 and -1 the own mode costs nothing and the other gives exp(-8).
    middle, ends = tf.zeros((1, 4)), tf.constant([[1.0, -1.0]])
    assert float(likelihood_quantisation(middle)) == pytest.approx(2 - math.log(1 - math.exp(-2)), rel=1e-5)
    assert float(likelihood_quantisation(ends)) == pytest.approx(-math.log(1 - math.exp(-8)), rel=1e-3)


def test_quantisation_draws_every_bit_away_from_zero():
    codes = tf.constant([[0.2, -0.2, 0.7, -0.9, 0.0]])
    with tf.GradientTape() as tape:
        tape.watch(codes)
        loss = likelihood_quantisation(codes)
    # Descent adds to what is positive (0 counts as set) and takes from what is negative.
    assert np.sign(tape.gradient(loss, codes)).tolist() == [[-1.0, 1.0, -1.0, 1.0, -1.0]]


def test_proxies_by_hand():
    # Cosines 1 and 0 at temperature 1: -log(e / (e + 1)); lengths do not matter.
    codes, proxies = np.array([[2.0, 0.0]], "float32"), np.array([[5.0, 0.0], [0.0, 1.0]], "float32")
    loss = proxy_cross_entropy(np.array([0]), codes, proxies, temperature=1.0)
    assert float(loss) == pytest.approx(math.log(1 + math.exp(-1)), rel=1e-5)


@pytest.mark.parametrize("several", [False, True])
def test_proxies_against_a_loop(several):
    proxies = RNG.normal(size=(4, 5)).astype("float32")
    classes = [[int(label)] for label in RNG.integers(0, 4, 6)]
    if several:
        classes[0], classes[3] = [1, 2], [0, 2, 3]
    total = 0.0
    for row, own in zip(CODES.astype(float), classes, strict=True):
        cosines = [row @ proxy / np.linalg.norm(row) / np.linalg.norm(proxy) for proxy in proxies.astype(float)]
        normal = sum(math.exp(cosine / 0.2) for cosine in cosines)
        total += -sum(math.log(math.exp(cosines[c] / 0.2) / normal) for c in own) / len(own)
    labels = np.array([[float(c in own) for c in range(4)] for own in classes]) if several else np.ravel(classes)
    assert float(proxy_cross_entropy(labels, CODES, proxies)) == pytest.approx(total / 6, rel=1e-4)
