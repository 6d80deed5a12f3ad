"""Optimizers of tensorflow-addons by name: each makes a step."""

import numpy as np
import pytest
import tensorflow as tf

from kdistill.training import optimizers


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
    variable = tf.Variable([1.0, -2.0])
    optimizers.get(f"Addons>{name}", 0.25, **options).apply_gradients([(tf.constant([0.5, -0.5]), variable)])
    assert np.all(np.isfinite(variable.numpy()))
    assert np.any(variable.numpy() != [1.0, -2.0])
