"""Refitted readers give what they gave before, as far as what is left allows."""

import numpy as np
import pytest
from trained import student_of

from kdistill.compression import channel_paths, compactors, insert_compactors, merge, refit
from kdistill.compression.refit import _solve


def test_solve_is_least_squares_with_a_bias():
    rng = np.random.default_rng(0)
    inputs, kernel, bias = rng.normal(size=(400, 4)), rng.normal(size=(4, 3)), rng.normal(size=3)
    found, offset = _solve(inputs, inputs @ kernel + bias, np.zeros((4, 3)), np.zeros(3))
    np.testing.assert_allclose(found, kernel, atol=0.01)
    np.testing.assert_allclose(offset, bias, atol=0.01)
    # Nothing to learn from: the old ones stay.
    still, _ = _solve(np.zeros((5, 4)), np.zeros((5, 3)), kernel, bias)
    np.testing.assert_allclose(still, kernel, atol=1e-6)


ALPHA = {"small_cnn": 1.0, "mobilenet_v1": 0.25, "mobilenet_v2": 0.35}


@pytest.mark.parametrize(
    "backbone", ["small_cnn", "mobilenet_v1", pytest.param("mobilenet_v2", marks=pytest.mark.long)]
)
def test_duplicate_channels_can_go_without_a_trace(backbone):
    """Each second channel is made the copy of the one before, so those that stay know all that was known."""
    student, pixels = student_of(backbone, size=32, alpha=ALPHA[backbone])
    paths = channel_paths(student)
    for path in paths:
        for name in (path.producer, path.norm, *path.followers):
            layer = student.get_layer(name)
            weights = [weight.copy() for weight in layer.get_weights()]
            for weight in weights:
                axis = 2 if "depthwise" in name and weight.ndim == 4 else weight.ndim - 1
                view = np.moveaxis(weight, axis, 0)
                view[1::2] = view[0::2]
            layer.set_weights(weights)
    compacted = insert_compactors(student)
    kept = {}
    for name, compactor in compactors(compacted, paths).items():
        stays = np.arange(compactor.kept.shape[0]) % 2 == 0
        compactor.set_weights([np.diag(stays).astype(np.float32), stays.astype(np.float32)])
        kept[name] = np.flatnonzero(stays)
    small, plain = merge(compacted), np.asarray(student(pixels))
    before = np.abs(np.asarray(small(pixels)) - plain).max()
    refit(small, student, paths, kept, pixels)
    after = np.abs(np.asarray(small(pixels)) - plain).max()
    assert before > 0.05
    assert after < 0.2 * before
