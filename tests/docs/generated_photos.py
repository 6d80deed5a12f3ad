"""Photos for the pages' commands: shapes of many colours on grounds of many colours, no two alike."""

from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageDraw

COLOURS = ("firebrick", "seagreen", "royalblue", "goldenrod", "orchid", "sienna")
GROUNDS = ("ivory", "lightsteelblue", "darkslategrey")


def write_photos(folder: Path, count: int = 180, first: int = 0) -> None:
    """Writes JPEG files `photo_000.jpg`, ..., numbered from `first`: kinds in turn, the rest is drawn."""
    folder.mkdir(parents=True)
    draws = np.random.default_rng(first)
    for number in range(first, first + count):
        colour, ground = COLOURS[number % len(COLOURS)], GROUNDS[number // len(COLOURS) % len(GROUNDS)]
        photo = PIL.Image.new("RGB", (120, 90), ground)
        left, top = draws.integers(0, 50, 2)
        width, height = draws.integers(30, 60, 2)
        box = (int(left), int(top), int(left + width), int(top + height))
        pen = PIL.ImageDraw.Draw(photo)
        (pen.ellipse if number % 2 else pen.rectangle)(box, fill=colour)
        noise = draws.normal(0, 8, (90, 120, 3))
        pixels = np.clip(np.asarray(photo) + noise, 0, 255).astype(np.uint8)
        PIL.Image.fromarray(pixels).save(folder / f"photo_{number:03d}.jpg", quality=90)
