"""MediaPipe's resizer is the one that we took it for."""

import numpy as np

from export.gate.resizers import open_resizers


def test_mediapipe_looks_at_two_neighbours_from_the_pixels_corners():
    ramp = np.arange(100)[None, :, None] * 2 + np.arange(60)[:, None, None] // 2 + np.array([0, 5, 20])
    noise = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    with open_resizers() as known:
        small = known["mediapipe"](ramp.astype(np.uint8), 16)
        np.testing.assert_array_equal(known["mediapipe"](noise, 16), noise)
    across, down = np.arange(16) * 100 / 16, np.arange(16) * 60 / 16
    lines = np.interp(down, np.arange(60), np.arange(60) // 2)
    expected = 2 * across[None, :, None] + lines[:, None, None] + np.array([0, 5, 20])
    np.testing.assert_allclose(small, expected, atol=1.01)
