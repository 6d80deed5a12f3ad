"""Images in folders: photos alone, or in the roles that the names of folders give them."""

import os
from pathlib import Path

import numpy as np

from kdistill.data.decoding import MAX_MEGAPIXELS
from kdistill.data.images import Image, ImageSet
from kdistill.data.layouts.walking import SUFFIXES, image_paths
from kdistill.data.retrieval_data import RetrievalData
from kdistill.errors import KdistillError
from kdistill.facts.data import ROLES


def find_images(folder: str | Path, *, labelled: bool = False, max_megapixels: float = MAX_MEGAPIXELS) -> ImageSet:
    """Returns all images below a folder, sorted by path; ids are relative paths with forward slashes.

    Hidden and system files and folders are left out, and links to folders are followed: see
    `kdistill.data.layouts.walking`.

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
    """Returns the photos of a folder in their roles; none has to be there but photos.

    DIR/gallery/** are the images that are searched, DIR/queries/** those that search, DIR/pool/** those that the
    teacher may be asked about, DIR/val/CLASS/* those that training is watched on. Without DIR/gallery and DIR/pool all
    photos below DIR are the gallery. Without DIR/pool the gallery is the pool, and without DIR/gallery the pool is
    searched: students are best where the questions are about what will be searched.

    Sub-folders of gallery and queries are classes, matched by their names, where photos stand in sub-folders; they
    judge, and nothing learns from them.

    Raises:
        KdistillError: a missing or empty folder, photos beside class folders, or a query class that the gallery lacks.
    """
    root = Path(data_dir)
    there = [role for role in ROLES if os.path.isdir(root / role)]
    if not there:
        photos = find_images(root, max_megapixels=max_megapixels)
        return RetrievalData(root.resolve().name, photos, photos)
    unlabelled = find_images(root / "pool", max_megapixels=max_megapixels) if "pool" in there else None
    gallery = _in_classes(root / "gallery", max_megapixels) if "gallery" in there else unlabelled
    assert gallery is not None
    queries = None
    if os.path.isdir(root / "queries"):
        queries = _in_classes(root / "queries", max_megapixels)
        if gallery.labels is None or queries.labels is None:
            gallery, queries = gallery.without_labels(), queries.without_labels()
        else:
            gallery, queries = _matched(gallery, queries, root)
    validation = (
        find_images(root / "val", labelled=True, max_megapixels=max_megapixels) if os.path.isdir(root / "val") else None
    )
    pool = gallery.without_labels() if unlabelled is None else unlabelled
    return RetrievalData(root.resolve().name, pool, gallery, queries, validation=validation)


def _in_classes(folder: Path, max_megapixels: float) -> ImageSet:
    """Returns the images below a folder; its sub-folders are their classes, and without any they have none.

    Raises:
        KdistillError: the folder is missing or empty, or some images stand in sub-folders and others do not.
    """
    images = find_images(folder, labelled=True, max_megapixels=max_megapixels)
    loose = [image.id for image in images if not _class_of(image)]
    if not loose:
        return images
    if len(loose) < len(images):
        raise KdistillError(
            f"the folder {str(folder)!r} holds photos in sub-folders, which are classes, and {len(loose)} beside them "
            f"({loose[0]!r}); put all into classes, or all outside"
        )
    return images.without_labels()


def _matched(gallery: ImageSet, queries: ImageSet, root: Path) -> tuple[ImageSet, ImageSet]:
    """Returns both with numbers for classes that are equal where the names of their folders are.

    Raises:
        KdistillError: a query class that the gallery lacks.
    """
    names = sorted({_class_of(image) for image in (*gallery, *queries)})
    numbers = {name: number for number, name in enumerate(names)}
    gallery = ImageSet(gallery.images, [numbers[_class_of(image)] for image in gallery])
    queries = ImageSet(queries.images, [numbers[_class_of(image)] for image in queries])
    missing = {numbers[_class_of(image)] for image in queries} - {numbers[_class_of(image)] for image in gallery}
    if missing:
        raise KdistillError(
            f"queries of class {names[min(missing)]!r} have no image of that class in {root / 'gallery'}"
        )
    return gallery, queries


def _class_of(image: Image) -> str:
    return image.id.rpartition("/")[0]
