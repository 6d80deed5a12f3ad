"""The layout and ground truth of revisited Oxford and Paris (Radenović et al., CVPR 2018, arXiv 1803.11285).

DIR/jpg/NAME.jpg are the images. DIR/gnd_SET.pkl holds `imlist` and `qimlist` (names without extension) and `gnd`, for
each query a dict of `bbx` (left, top, right, bottom) and `easy`, `hard`, `junk` (positions in imlist).
"""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from kdistill.data.decoding import MAX_MEGAPIXELS
from kdistill.data.images import Image, ImageSet
from kdistill.data.layouts.folder import find_images
from kdistill.data.layouts.revisited_truth import GRADES, RevisitedTruth, _integers
from kdistill.data.retrieval_data import RetrievalData
from kdistill.errors import KdistillError
from kdistill.files.restricted_pickle import load_plain


def revisited_data(
    data_dir: str | Path,
    *,
    gnd_file: str | None = None,
    pool_dir: str | Path | None = None,
    distractor_dir: str | Path | None = None,
    max_megapixels: float = MAX_MEGAPIXELS,
) -> RetrievalData:
    """Opens a folder in the revisited layout; no image is read yet.

    Ids are `jpg/NAME.jpg` for the gallery, `query/NAME.jpg` for queries (the same file cropped to its box) and
    `distractors/PATH` for distractors.

    Args:
        data_dir: DIR.
        gnd_file: the ground truth inside DIR; None finds the only `gnd_*.pkl`.
        pool_dir: a folder of unlabelled images to learn from, at any depth; None: the gallery's own images, without
            the distractors. That is the setting of somebody with a catalogue, not the field's usual protocol.
        distractor_dir: a folder of further gallery images, at any depth, relevant to nothing.
        max_megapixels: files of more than so many million pixels are refused when they are read.

    Raises:
        KdistillError: a missing folder or file, a pickle that asks for more than plain data, or a ground truth that
            contradicts itself.
    """
    root = Path(data_dir)
    if not (root / "jpg").is_dir():
        raise KdistillError(f"{str(root)!r} has no folder jpg, so it is not in the revisited layout")
    file = root / gnd_file if gnd_file else _only_ground_truth(root)
    content = load_plain(file)
    for key in ("imlist", "qimlist", "gnd"):
        if not isinstance(content, dict) or not isinstance(content.get(key), (list, tuple, np.ndarray)):
            raise KdistillError(f"{file} has no list {key!r}, so it is not a revisited ground truth")
    records = content["gnd"]
    if len(records) != len(content["qimlist"]):
        raise KdistillError(f"{file} has {len(content['qimlist'])} queries and {len(records)} ground truths")
    truth = RevisitedTruth(
        *(tuple(_grade(file, query, record, g) for query, record in enumerate(records)) for g in GRADES)
    )
    truth.check_gallery(len(content["imlist"]))
    photo = functools.partial(Image, max_megapixels=max_megapixels)
    gallery = [photo(f"jpg/{name}", path=root / "jpg" / name) for name in _names(file, content["imlist"])]
    queries = [
        photo(f"query/{name}", path=root / "jpg" / name, box=_box(file, query, record))
        for query, (name, record) in enumerate(zip(_names(file, content["qimlist"]), records, strict=True))
    ]
    if distractor_dir is not None:
        gallery += [photo(f"distractors/{image.id}", path=image.path) for image in find_images(distractor_dir)]
    if pool_dir is not None:
        pool = find_images(pool_dir, max_megapixels=max_megapixels)
    else:
        pool = ImageSet(gallery[: len(content["imlist"])])
    name = file.stem.removeprefix("gnd_")
    return RetrievalData(name, pool, ImageSet(gallery), ImageSet(queries), truth)


def _only_ground_truth(root: Path) -> Path:
    found = sorted(root.glob("gnd_*.pkl"))
    if len(found) != 1:
        names = ", ".join(file.name for file in found) or "none"
        raise KdistillError(f"{str(root)!r} should hold one gnd_*.pkl (found: {names}); name one with --gnd_file")
    return found[0]


def _names(file: Path, names: Sequence[Any]) -> list[str]:
    """Returns file names inside jpg/; names that lead elsewhere are refused."""
    for name in names:
        parts = PurePosixPath(str(name).replace("\\", "/"))
        if not isinstance(name, str) or not name or parts.is_absolute() or ".." in parts.parts:
            raise KdistillError(f"{file} names the image {name!r}, which is not a name inside jpg/")
    return [f"{name}.jpg" for name in names]


def _grade(file: Path, query: int, record: Any, grade: str) -> np.ndarray:
    if not isinstance(record, Mapping) or grade not in record:
        held = ", ".join(map(str, record)) if isinstance(record, Mapping) else type(record).__name__
        raise KdistillError(f"{file}: query {query} has no {grade!r} list (it holds: {held})")
    return _integers(record[grade], grade)


def _box(file: Path, query: int, record: Mapping[str, Any]) -> tuple[float, float, float, float]:
    try:
        left, top, right, bottom = (float(edge) for edge in np.asarray(record["bbx"], np.float64).reshape(-1))
    except (KeyError, TypeError, ValueError):
        raise KdistillError(f"{file}: query {query} has no 'bbx' of four numbers") from None
    if not (left < right and top < bottom) or not np.isfinite([left, top, right, bottom]).all():
        raise KdistillError(f"{file}: the box of query {query} is empty: {(left, top, right, bottom)}")
    return left, top, right, bottom
