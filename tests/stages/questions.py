"""A teacher that is a function and writes down every image that it is sent."""

import os
from pathlib import Path

import numpy as np


def embed(images):
    with open(Path(os.environ["QUESTIONS"]), "a") as file:
        file.writelines(f"{image.id}\n" for image in images)
    return np.stack([image.pixels()[::4, ::4, 0].ravel() for image in images]).astype(np.float32)
