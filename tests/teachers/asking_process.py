"""What the processes of the crash and shared-budget tests run: light, so that many can be started and killed."""

import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kdistill.data.images import Image, ImageSet
from kdistill.errors import KdistillError
from kdistill.teachers import Ledger, ask

DIMENSION = 4


def write_images(folder: Path, count: int) -> None:
    """Writes files of distinct bytes; nothing here decodes them."""
    for index in range(count):
        (folder / f"{index:05}.img").write_bytes(f"image {index}".encode())


def image_set(folder: Path, count: int) -> ImageSet:
    return ImageSet([Image(name, path=folder / name) for name in sorted(os.listdir(folder))[:count]])


def expected_answer(name: str) -> np.ndarray:
    return np.arange(DIMENSION, dtype=np.float32) + int(name.split(".")[0])


class CountingTeacher:
    """Writes the ids that it is asked about to a file of its own before it answers."""

    name, view = "counting", "id"

    def __init__(self, count_path: Path, seconds: float) -> None:
        self._file = os.open(count_path, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
        self._seconds = seconds

    def embed(self, images: Sequence[Image]) -> np.ndarray:
        os.write(self._file, ("\n".join(image.id for image in images) + "\n").encode())
        time.sleep(self._seconds)
        return np.stack([expected_answer(image.id) for image in images])


def ask_all(
    images: Path,
    location: str,
    count_path: Path,
    *,
    asked: int,
    budget: int,
    batch_size: int,
    seconds: float,
    concurrency: int = 1,
) -> None:
    """Asks about the first `asked` images; a process's target."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # progress bars
    teacher = CountingTeacher(count_path, seconds)
    with Ledger(location) as ledger:
        try:
            ask(
                teacher,
                image_set(images, max(asked, budget)),
                range(asked),
                ledger,
                budget=budget,
                batch_size=batch_size,
                concurrency=concurrency,
            )
        except KdistillError as error:
            count_path.with_suffix(f".error-{os.getpid()}").write_text(str(error))
