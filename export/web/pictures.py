"""Pictures of the site: thumbnails of the gallery in packs, and photos to try the search with."""

import io
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

import numpy as np
import PIL.Image

from kdistill.console.progress import progress_bar
from kdistill.data import Image, ImageSet

THUMBNAIL_SIDE = 96
SAMPLE_SIDE = 640
PER_PACK = 256
MAX_SAMPLE_BYTES = 200_000
_SUFFIXES = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp"}


def display_name(image_id: str) -> str:
    """Returns what the page calls an image: its folder, which is its class in most data sets, else its file name."""
    path = PurePosixPath(image_id)
    return (path.parent.name or path.stem).replace("-", " ").replace("_", " ")


def thumbnail_packs(images: ImageSet) -> Iterator[tuple[bytes, list[int]]]:
    """Yields packs of up to PER_PACK thumbnails: JPEGs one after the other, and where each starts (and the end).

    Raises:
        UnreadableImage: an image cannot be read.
    """
    bar = progress_bar(images, total=len(images), description="thumbnails")
    pack, offsets = b"", [0]
    for image in bar:
        pack += _jpeg(image.pixels(), THUMBNAIL_SIDE, quality=78)
        offsets.append(len(pack))
        if len(offsets) == PER_PACK + 1:
            yield pack, offsets
            pack, offsets = b"", [0]
    if len(offsets) > 1:
        yield pack, offsets


def choose_samples(images: ImageSet, count: int) -> list[int]:
    """Returns positions of up to `count` images, from classes evenly spaced where labels are known."""
    if images.labels is None:
        candidates = np.arange(len(images))
    else:
        _, candidates = np.unique(images.labels, return_index=True)
        candidates = np.sort(candidates)
    places = np.linspace(0, len(candidates) - 1, min(count, len(candidates)))
    return [int(index) for index in candidates[np.round(places).astype(int)]]


def sample_file(image: Image) -> tuple[bytes, str]:
    """Returns a photo as the page offers it, and its suffix: the file itself, or a reduced JPEG of a large one."""
    encoded = image.encoded()
    if image.box is None and len(encoded) <= MAX_SAMPLE_BYTES:
        with PIL.Image.open(io.BytesIO(encoded)) as opened:
            suffix = _SUFFIXES.get(opened.format or "")
        if suffix is not None:
            return encoded, suffix
    return _jpeg(image.pixels(), SAMPLE_SIDE, quality=90), ".jpg"


def rows_of(ids: Sequence[str], wanted: Sequence[str]) -> list[int | None]:
    """Returns the gallery's row of each wanted id, None for one that is not in the gallery."""
    rows = {name: row for row, name in enumerate(ids)}
    return [rows.get(name) for name in wanted]


def _jpeg(pixels: np.ndarray, side: int, *, quality: int) -> bytes:
    image = PIL.Image.fromarray(pixels)
    image.thumbnail((side, side), PIL.Image.Resampling.BILINEAR)
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=quality, optimize=True)
    return buffer.getvalue()
