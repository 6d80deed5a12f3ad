"""Keras 2 alone renormalises, which several replicas cannot do together."""

import keras
import pytest

from kdistill.errors import ArgumentError
from kdistill.training.distribution import copy_of


def test_renormalisation_is_refused():
    image = keras.Input((4,))
    student = keras.Model(image, keras.layers.BatchNormalization(renorm=True, name="norm")(image))
    with pytest.raises(ArgumentError, match="the layer 'norm' renormalises"):
        copy_of(student, synchronised=True)
