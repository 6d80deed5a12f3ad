"""What the actors of the tests run; they import it by name."""

import dataclasses
import os
import signal
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kdistill.data import Image
from kdistill.errors import KdistillError


def append(path: Path, line: str) -> None:
    with open(path, "a") as file:
        file.write(line + "\n")


@dataclasses.dataclass(frozen=True)
class MakeSquare:
    """Squares numbers; dies at `fatal` (the first `deaths` times), refuses `wrong`."""

    folder: Path
    fatal: int = -1
    deaths: int = 1
    wrong: int = -1

    def __call__(self):
        append(self.folder / "made", str(os.getpid()))
        return self.square

    def square(self, number: int) -> int:
        died = self.folder / "died"
        if number == self.fatal and (not died.exists() or len(died.read_text().split()) < self.deaths):
            append(died, str(os.getpid()))
            os.kill(os.getpid(), signal.SIGKILL)
        if number == self.wrong:
            raise KdistillError(f"{number} is refused")
        return number * number


@dataclasses.dataclass(frozen=True)
class OpenMeans:
    """A model that gives mean colours; its process dies at its third batch, the first time over all processes."""

    folder: Path

    def __call__(self):
        from kdistill.runtimes.embedders import Embedder  # here, since it imports TensorFlow

        append(self.folder / "made", str(os.getpid()))
        calls = []

        def embed(pixels: np.ndarray) -> np.ndarray:
            calls.append(len(pixels))
            if len(calls) == 3 and not (self.folder / "died").exists():
                (self.folder / "died").touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return pixels.mean((1, 2), dtype=np.float32)

        return Embedder(embed, 8, 1)


@dataclasses.dataclass(frozen=True)
class OpenTeacher:
    """A teacher whose answers hold the names; it writes down what it is asked, and may die while it answers."""

    folder: Path
    fatal: str = ""

    name = "named"
    view = "id"

    def __call__(self) -> "OpenTeacher":
        return self

    def embed(self, images: Sequence[Image]) -> np.ndarray:
        append(self.folder / "asked", "\n".join(image.id for image in images))
        if any(image.id == self.fatal for image in images) and not (self.folder / "died").exists():
            (self.folder / "died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        # The sum of a batch stands in each answer, so that other batches than in one process would show.
        together = sum(int(image.id.split(".")[0]) for image in images)
        rows = np.array([[int(image.id.split(".")[0]), together, len(images)] for image in images], np.float32)
        rows[[image.id.startswith("0013") for image in images]] = np.nan
        return rows
