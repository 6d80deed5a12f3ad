"""Optimizers by name: each takes its learning rate and makes a step."""

import sys

import numpy as np
import pytest
import tensorflow as tf

from kdistill import losses
from kdistill.errors import ArgumentError
from kdistill.training import optimizers


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


@pytest.mark.parametrize(
    "open_it",
    [lambda: optimizers.get("Addons>LAMB", 0.1), lambda: losses.get("Addons>TripletSemiHardLoss")],
    ids=["optimizer", "loss"],
)
def test_where_addons_does_not_import_the_sentence_names_its_environment(open_it, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_addons", None)
    with pytest.raises(ArgumentError, match=r"pip install \.\[addons\]"):
        open_it()
