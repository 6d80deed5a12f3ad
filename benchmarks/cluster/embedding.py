"""The embedding half of `benchmarks.cluster`: the same photos through one process and through Ray, in turns."""

import dataclasses
import functools
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.evaluation.embedding import write_photos
from export.formats.onnx import export_onnx
from kdistill import students
from kdistill.cluster.embedding import BATCHES, OpenFile, ray_parts
from kdistill.cluster.ray_engine import ray_cluster
from kdistill.data.images import ImageSet
from kdistill.data.layouts.folder import find_images
from kdistill.evaluation.embed.parts import Parts, local_parts
from kdistill.runtimes.embedders import Embedder, open_embedder

ACTORS, BATCH = 2, 32


@dataclasses.dataclass(frozen=True)
class OpenLogged:
    """Opens a model that writes down, for each process, when it has finished each batch and of how many images."""

    open_model: Callable[[], Embedder]
    folder: Path

    def __call__(self) -> Embedder:
        """Returns the model."""
        embedder = self.open_model()

        def embed(pixels: np.ndarray) -> np.ndarray:
            rows = embedder.embed(pixels)
            with open(self.folder / str(os.getpid()), "a") as file:
                file.write(f"{time.time()} {len(rows)}\n")
            return rows

        return dataclasses.replace(embedder, embed=embed)


def timed(engine: Callable[[Path], Parts], count: int) -> tuple[float, float, np.ndarray]:
    """Returns (seconds to the first finished batch, images a second in the steady state, embeddings)."""
    with tempfile.TemporaryDirectory() as name:
        begun = time.time()
        rows = np.concatenate([part.rows for part in engine(Path(name))(0, count)])
        ended = time.time()
        # By the batches, not by when their rows arrive: rows wait for each other and come in bunches.
        logs = [[line.split() for line in path.read_text().splitlines()] for path in Path(name).iterdir()]
    batches = [[(float(moment), int(images)) for moment, images in log] for log in logs]
    steady = max(log[min(BATCHES, len(log)) - 1][0] for log in batches)
    after = sum(images for log in batches for moment, images in log if moment > steady)
    return min(log[0][0] for log in batches) - begun, after / (ended - steady), rows


def measure_embedding(settings: dict[str, Any], count: int, rounds: int) -> dict[str, Any]:
    """Makes `count` photos and a student; returns rates of both engines, their ratio and start-up times."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "photos").mkdir()
        write_photos(folder / "photos", count, 240, 180)
        export_onnx(students.build(**settings), folder / "student.onnx")
        return _compare(folder / "student.onnx", find_images(folder / "photos"), BATCH, rounds)


def _compare(model: Path, images: ImageSet, batch: int, rounds: int) -> dict[str, Any]:
    """Returns rates of both engines, their ratio (median over rounds), and start-up times."""
    # Ray makes its workers yield to other processes; here both engines must stand in the same queue.
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 (that is its name)
    embedder, opening = open_embedder(model), OpenFile.as_here(model)
    found: dict[str, list[tuple[float, float]]] = {"local": [], "ray": []}
    same = True
    with ray_cluster():
        for number in range(rounds):
            rows = {}
            order: list[tuple[str, Callable[[Path], Parts]]] = [
                (
                    "local",
                    lambda log: functools.partial(local_parts, OpenLogged(lambda: embedder, log)(), images, batch),
                ),
                ("ray", lambda log: ray_parts(OpenLogged(opening, log), images, batch, actors=ACTORS)),
            ]
            for name, engine in order if number % 2 else reversed(order):
                start_up, rate, rows[name] = timed(engine, len(images))
                found[name].append((start_up, rate))
                print(f"{name}: {rate:.1f} images a second after {start_up:.1f} s", flush=True)
            same = same and rows["local"].tobytes() == rows["ray"].tobytes()
    ratios = [ray / local for (_, local), (_, ray) in zip(found["local"], found["ray"], strict=True)]
    return {
        "ratio": statistics.median(ratios),
        "ratios": ratios,
        "same_bytes": same,
        "images": len(images),
        "batch": batch,
        "actors": ACTORS,
        "images_per_second": {name: [rate for _, rate in runs] for name, runs in found.items()},
        "start_up_seconds": {name: [start_up for start_up, _ in runs] for name, runs in found.items()},
    }
