"""Images in folders: one sub-folder a class for what is judged, anything below for the pool."""

import os
from pathlib import Path

import numpy as np

from kdistill.data.decoding import MAX_MEGAPIXELS
from kdistill.data.images import Image, ImageSet
from kdistill.data.retrieval_data import RetrievalData
from kdistill.data.walking import SUFFIXES, image_paths
from kdistill.errors import KdistillError


def find_images(folder: str | Path, *, labelled: bool = False, max_megapixels: float = MAX_MEGAPIXELS) -> ImageSet:
    """Returns all images below a folder, sorted by path; ids are relative paths with forward slashes.

    Hidden and system files and folders are left out, and links to folders are followed: see `kdistill.data.walking`.

    Args:
        folder: where to look, at any depth.
        labelled: take the folder that an image lies in as its class.
        max_megapixels: files of more than so many million pixels are refused when they are read.

    Raises:
        KdistillError: the folder is missing or holds no image.
    """
    root = Path(folder)
    if not os.path.isdir(root):
        raise KdistillError(f"the folder {str(root)!r} does not exist")
    paths, left_out = image_paths(root)
    if not paths:
        but = f"; left out were {left_out}" if left_out else ""
        raise KdistillError(f"the folder {str(root)!r} holds no image ({', '.join(SUFFIXES)}){but}")
    images = [Image(path.relative_to(root).as_posix(), path=path, max_megapixels=max_megapixels) for path in paths]
    if not labelled:
        return ImageSet(images)
    _, labels = np.unique([str(path.parent) for path in paths], return_inverse=True)
    return ImageSet(images, labels)


def folder_data(data_dir: str | Path, *, max_megapixels: float = MAX_MEGAPIXELS) -> RetrievalData:
    """Returns DIR/pool/** as the pool and DIR/gallery/CLASS/* as the gallery; DIR/queries and DIR/val are optional.

    With DIR/queries/CLASS/* the queries search the gallery; without, the gallery is judged leave-one-out. Class
    names of queries and gallery are matched by the name of the folder.

    Raises:
        KdistillError: a missing or empty folder, or a query class that the gallery lacks.
    """
    root = Path(data_dir)
    gallery = find_images(root / "gallery", labelled=True, max_megapixels=max_megapixels)
    queries = None
    if os.path.isdir(root / "queries"):
        queries = find_images(root / "queries", labelled=True, max_megapixels=max_megapixels)
        names = sorted({_class_of(image) for image in (*gallery, *queries)})
        numbers = {name: number for number, name in enumerate(names)}
        gallery = ImageSet(gallery.images, [numbers[_class_of(image)] for image in gallery])
        queries = ImageSet(queries.images, [numbers[_class_of(image)] for image in queries])
        missing = {numbers[_class_of(image)] for image in queries} - {numbers[_class_of(image)] for image in gallery}
        if missing:
            raise KdistillError(
                f"queries of class {names[min(missing)]!r} have no image of that class in {root / 'gallery'}"
            )
    validation = (
        find_images(root / "val", labelled=True, max_megapixels=max_megapixels) if os.path.isdir(root / "val") else None
    )
    return RetrievalData(
        root.name, find_images(root / "pool", max_megapixels=max_megapixels), gallery, queries, validation=validation
    )


def _class_of(image: Image) -> str:
    return image.id.rpartition("/")[0]
