"""Embeddings of many images as a stage needs them: streamed to the disk, gone on with after a kill, here or on Ray."""

import dataclasses
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from kdistill import students
from kdistill.assistant.assistant import answering
from kdistill.cluster.embedding import ray_parts
from kdistill.data import ImageSet
from kdistill.evaluation.embed.job import embed_to_folder
from kdistill.files import made_from
from kdistill.files.whole import write_arrays
from kdistill.runtimes.embedders import Embedder
from kdistill.runtimes.keras_models.keras_files import load_keras_file
from kdistill.runtimes.keras_models.keras_model import as_function
from kdistill.settings import Settings
from kdistill.stages.backbone import trusted_packages

BATCH = 32
_OURS = ("embeddings*", ".embeddings*", "ids*", "progress*", "images*", "previous*")


@dataclasses.dataclass(frozen=True)
class OpenNetwork:
    """Opens a Keras model's file, in this process or in an actor of a Ray cluster.

    Attributes:
        path: the file, under the same name on all machines.
        side: of the images in pixels; for an assistant's answers larger than its input.
        answers: whether it gives the answers of an assistant, the mean over four views (see `answering`).
        threads: that TensorFlow may use within one operation; None where it is set already.
        trusted: packages besides Keras whose classes it may be made of.
    """

    path: Path
    side: int
    answers: bool
    threads: int | None = None
    trusted: tuple[str, ...] = ()

    def __call__(self) -> Embedder:
        """Returns the model, ready to run."""
        if self.threads is not None:
            os.environ["TF_NUM_INTRAOP_THREADS"] = str(self.threads)
        return embedder_of(load_keras_file(self.path, self.trusted), self.side, self.answers)


def embedder_of(network: Any, side: int, answers: bool) -> Embedder:
    """Returns a network as the embedding job takes it; see `OpenNetwork`."""
    return Embedder(answering(network) if answers else as_function(network), side, 1)


def write_embeddings(
    settings: Settings,
    file: Path,
    network: Any,
    images: ImageSet,
    *,
    name: str,
    identity: dict[str, Any],
    answers: bool = False,
    side: int | None = None,
) -> None:
    """Writes `ids` and an array `name`, float32 [n, D], of the images that can be read into an `.npz` file.

    The rows go to a folder beside the file as they are made, from which an interrupted job goes on.

    Args:
        settings: of the run; `--engine=ray` spreads the work.
        file: to write.
        network: a Keras model.
        images: what to embed.
        name: of the array.
        identity: what the rows are made from, as JSON knows it.
        answers: whether they are the answers of an assistant.
        side: of the images in pixels; None for that of the network.

    Raises:
        KdistillError: the folder cannot be written, or no image can be read.
    """
    folder = file.with_name(f"{file.stem}.part")
    side = students.image_size(network) if side is None else side
    difference = made_from.claim(folder, identity, ours=_OURS)
    if difference is not None:
        logging.info("what was embedded for %s before is of no use: %s", file.name, difference)
    engine: Any = embedder_of(network, side, answers)
    if settings.asking.engine == "ray":
        model = folder / "embeddings.keras"
        network.save(model)
        threads = int(os.environ.get("TF_NUM_INTRAOP_THREADS", "0")) or os.cpu_count() or 1
        opening = OpenNetwork(model.absolute(), side, answers, threads, trusted_packages(settings))
        engine = ray_parts(opening, images, BATCH, actors=settings.asking.actors)
    made = embed_to_folder(engine, images, folder, fingerprint="", batch_size=BATCH, strict=settings.run.strict)
    for _, reason in made.skipped:
        logging.warning("skipped: %s", reason)
    skipped = {image for image, _ in made.skipped}
    ids = np.array([image for image in images.ids if image not in skipped])
    write_arrays(file, **{"ids": ids, name: np.load(made.embeddings, mmap_mode="r")})
    shutil.rmtree(folder)
