"""The page's resize against Pillow, byte for byte."""

import base64
import json
import subprocess
from pathlib import Path

import numpy as np
import PIL

from export.web.site import TALL_FIRST_SINCE
from kdistill.data import resize

CASES = Path(__file__).with_name("resize_cases.mjs")
TALL_FIRST = int(PIL.__version__.split(".")[0]) >= TALL_FIRST_SINCE


def _port(node: str, pictures: list[tuple[np.ndarray, int]], tall_first: bool = TALL_FIRST) -> list[np.ndarray]:
    cases = [
        {
            "width": pixels.shape[1],
            "height": pixels.shape[0],
            "size": size,
            "tallFirst": tall_first,
            "data": base64.b64encode(np.dstack([pixels, pixels[..., :1]]).tobytes()).decode(),
        }
        for pixels, size in pictures
    ]
    answer = subprocess.run([node, str(CASES)], input=json.dumps(cases), capture_output=True, text=True, check=True)
    return [
        np.frombuffer(base64.b64decode(text), np.uint8).reshape(size, size, 3)
        for text, (_, size) in zip(json.loads(answer.stdout), pictures, strict=True)
    ]


def test_every_byte_equals_pillows(node: str):
    rng = np.random.default_rng(0)
    pictures = []
    for _ in range(300):
        height, width = (int(length) for length in rng.integers(1, 120, 2))
        size = int(rng.choice([1, 8, 32, 33, 96]))
        pictures.append((rng.integers(0, 256, (height, width, 3), np.uint8), size))
    pictures += [(rng.integers(0, 256, shape, np.uint8), 32) for shape in [(32, 32, 3), (32, 50, 3), (50, 32, 3)]]
    for (pixels, size), result in zip(pictures, _port(node, pictures), strict=True):
        np.testing.assert_array_equal(result, resize(pixels, size), err_msg=f"{pixels.shape} to {size}")


def test_large_photos(node: str):
    rng = np.random.default_rng(1)
    pictures = [(rng.integers(0, 256, shape, np.uint8), 96) for shape in [(600, 1100, 3), (1100, 300, 3)]]
    for (pixels, size), result in zip(pictures, _port(node, pictures), strict=True):
        np.testing.assert_array_equal(result, resize(pixels, size))


def test_the_order_of_passes_matters_for_tall_pictures_only(node: str):
    rng = np.random.default_rng(2)
    wide, tall = rng.integers(0, 256, (60, 80, 3), np.uint8), rng.integers(0, 256, (200, 50, 3), np.uint8)
    old = _port(node, [(wide, 32), (tall, 32)], tall_first=False)
    new = _port(node, [(wide, 32), (tall, 32)], tall_first=True)
    np.testing.assert_array_equal(old[0], new[0])
    assert 0 < np.abs(old[1].astype(int) - new[1]).max() <= 1
