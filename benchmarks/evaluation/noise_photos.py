"""Photos of noise for smoke runs: JPEG files that take as long to decode as real ones of their size."""

from pathlib import Path

import numpy as np
import PIL.Image


def write_photos(folder: Path, count: int, width: int, height: int) -> None:
    """Writes JPEG files with the amount of detail of small photographs (coarse and fine noise, quality 85)."""
    random = np.random.default_rng(0)
    for number in range(count):
        layers = [
            PIL.Image.fromarray(random.integers(0, 256, (side, side, 3), np.uint8)).resize((width, height))
            for side in (6, 24, 96)
        ]
        image = PIL.Image.blend(PIL.Image.blend(layers[0], layers[1], 0.4), layers[2], 0.2)
        image.save(folder / f"{number:05d}.jpg", quality=85)
