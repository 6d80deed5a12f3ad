"""Optimizers by name: each takes its learning rate and makes a step."""

import importlib.util

import numpy as np
import pytest
import tensorflow as tf

from kdistill.errors import ArgumentError
from kdistill.training import optimizers

HAS_ADDONS = importlib.util.find_spec("tensorflow_addons") is not None


def moves(optimizer) -> bool:
    variable = tf.Variable([1.0, -2.0])
    optimizer.apply_gradients([(tf.constant([0.5, -0.5]), variable)])
    return bool(np.all(np.isfinite(variable.numpy())) and np.any(variable.numpy() != [1.0, -2.0]))


@pytest.mark.parametrize("name", optimizers.names())
def test_each_name_takes_its_learning_rate_and_makes_a_step(name):
    optimizer = optimizers.get(name, 0.25)
    assert float(optimizer.learning_rate) == 0.25
    assert moves(optimizer)


def test_options_are_passed_on_and_letter_case_does_not_matter():
    assert optimizers.get("SGD", 0.1, momentum=0.9).get_config()["momentum"] == 0.9


@pytest.mark.parametrize(
    ("name", "rate", "options", "message"),
    [
        ("adamm", 0.1, {}, "choose one of adam"),
        ("adam", 0.0, {}, "must be above 0"),
        ("adam", 0.1, {"momentums": 1}, "does not take these options"),
    ],
)
def test_mistakes_are_told_in_a_sentence(name, rate, options, message):
    with pytest.raises(ArgumentError, match=message):
        optimizers.get(name, rate, **options)


@pytest.mark.skipif(HAS_ADDONS, reason="the package imports here")
def test_elsewhere_the_sentence_names_the_environment():
    with pytest.raises(ArgumentError, match=r"pip install \.\[addons\]"):
        optimizers.get("Addons>LAMB", 0.1)


@pytest.mark.skipif(not HAS_ADDONS, reason="tensorflow-addons has an environment of its own")
@pytest.mark.parametrize(
    "name",
    [
        "AdaBelief",
        "AdamW",
        "COCOB",
        "ConditionalGradient",
        "LAMB",
        "LazyAdam",
        "Lookahead",
        "MovingAverage",
        "NovoGrad",
        "ProximalAdagrad",
        "RectifiedAdam",
        "SGDW",
        "SWA",
        "Yogi",
    ],
)
def test_optimizers_of_the_package_make_a_step(name):
    options = {"lambda_": 0.1} if name == "ConditionalGradient" else {}
    assert moves(optimizers.get(f"Addons>{name}", 0.25, **options))
