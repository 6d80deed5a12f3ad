"""The data of one catalogue: photos, the lists of pool and gallery, and a teacher's table of what will be asked."""

import dataclasses
import os
from pathlib import Path

import numpy as np

from benchmarks.catalogue.photos import LONG_SIDE, make_photos, photo_name
from kdistill.data.images import Image, ImageSet, resize
from kdistill.evaluation.embed.job import embed_to_folder
from kdistill.files import made_from
from kdistill.files.whole import whole_file, write_whole
from kdistill.runtimes.embedders import Embedder
from kdistill.runtimes.opening import open_image_model
from kdistill.teachers.choosing.selection import select

_THUMBNAIL = 8


@dataclasses.dataclass(frozen=True)
class Catalogue:
    """What a run is given.

    Attributes:
        folder: its `--data_dir`.
        photos: of the pool.
        gallery: further photos, that are searched.
        answers: rows of the teacher's table.
    """

    folder: Path
    photos: int
    gallery: int
    answers: int

    @property
    def pool_file(self) -> str:
        """The list of the pool in `folder`."""
        return f"pool-{self.photos}.txt"

    @property
    def gallery_file(self) -> str:
        """The list of the gallery in `folder`."""
        return f"gallery-{self.photos}.txt"

    @property
    def teacher(self) -> Path:
        """The teacher's table."""
        return self.folder / f"teacher-{self.photos}.npy"


def make_catalogue(
    sources: Path, folder: Path, photos: int, *, teacher: Path | None, seed: int = 0, long_side: int = LONG_SIDE
) -> Catalogue:
    """Makes what is missing of a catalogue: a pool, a fifth as many photos to search, answers about a fifth of it.

    Photos show the same thing where their source is the same; the gallery's labels say so.

    Args:
        sources: a folder of public photos.
        folder: of catalogues of all sizes; a smaller one is a part of a larger one.
        photos: of the pool.
        teacher: a model from images to embeddings (`.onnx`, `.tflite`, `.keras`) that answers; None for the colours of
            8 x 8 pixels, which cost nothing.
        seed: of the photos, and of the run, which asks about the images that it draws.
        long_side: of each photo in pixels.

    Raises:
        KdistillError: sources or teacher that cannot be read.
    """
    found = Catalogue(folder, photos, gallery=max(20, photos // 5), answers=max(10, photos // 5))
    labels = make_photos(sources, folder, photos + found.gallery, seed=seed, long_side=long_side)
    names = [photo_name(number) for number in range(photos + found.gallery)]
    searched = zip(names[photos:], labels[photos:], strict=True)
    write_whole(folder / found.gallery_file, "".join(f"{name}, {label}\n" for name, label in searched))
    write_whole(folder / found.pool_file, "".join(f"{name}\n" for name in names[:photos]))
    asked = np.sort(select("random", found.answers, n=photos, seed=seed))
    images = ImageSet([Image(names[place], path=folder / names[place]) for place in asked])
    _make_table(images, found.teacher, teacher)
    return found


def _make_table(images: ImageSet, table: Path, teacher: Path | None) -> None:
    identity = {"teacher": None if teacher is None else str(teacher.resolve()), "images": images.ids}
    if made_from.matches(table, identity) is None:
        return
    made = embed_to_folder(_embedder(teacher), images, table.with_suffix(""), fingerprint=str(teacher))
    for file, name in ((made.embeddings, table), (made.ids, table.with_suffix(".txt"))):
        with whole_file(name) as temporary:
            os.link(file, temporary)
    made_from.write(table, identity)


def _embedder(teacher: Path | None) -> Embedder:
    if teacher is None:
        return Embedder(_thumbnails, _THUMBNAIL, 1)
    model = open_image_model(teacher, f"the teacher {str(teacher)!r}")
    source = model.input
    if source.dtype == np.uint8:
        return Embedder(model.run, source.side, model.callers)
    return Embedder(lambda pixels: model.run(pixels.astype(source.dtype)), source.side, model.callers)


def _thumbnails(pixels: np.ndarray) -> np.ndarray:
    """Returns float32 [n, 192] of unit length: the colours of 8 x 8 pixels, less their mean."""
    small = np.stack([resize(image, _THUMBNAIL) for image in pixels]).reshape(len(pixels), -1).astype(np.float32)
    small -= small.mean(axis=1, keepdims=True)
    return small / np.maximum(np.linalg.norm(small, axis=1, keepdims=True), 1e-6)
