"""Images as the rest of the library sees them: an id, encoded bytes, pixels, and sets of these."""

import collections
import dataclasses
import hashlib
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import PIL.Image

from kdistill.console.progress import progress_bar
from kdistill.data.decoding import MAX_IMAGE_BYTES, MAX_MEGAPIXELS, UnreadableImage, decode, resize
from kdistill.data.labels import label_array
from kdistill.errors import KdistillError
from kdistill.files.whole import read_bounded


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Image:
    """One image: a file, or pixels in memory.

    Attributes:
        id: the name under which results speak of it (a relative path for files). Bytes of a file's name that are no
            text (no UTF-8) become escapes such as `\\xff`, so that every id can be written and read back anywhere.
        path: the file, or None when `array` is given.
        array: uint8 [H, W, 3] RGB, or None when `path` is given.
        box: (left, top, right, bottom) in pixels to crop to after decoding, or None.
        max_megapixels: a file of more than so many million pixels is refused.
    """

    id: str
    path: Path | None = None
    array: np.ndarray | None = None
    box: tuple[float, float, float, float] | None = None
    max_megapixels: float = MAX_MEGAPIXELS

    def __post_init__(self) -> None:
        """Makes the id a text."""
        object.__setattr__(self, "id", text_of(self.id))

    def encoded(self) -> bytes:
        """Returns the file's bytes as they stand, or a PNG of the pixels in memory (box not applied).

        Raises:
            UnreadableImage: the file is missing or cannot be opened.
        """
        if self.path is None:
            buffer = io.BytesIO()
            PIL.Image.fromarray(self._array()).save(buffer, format="PNG")
            return buffer.getvalue()
        try:
            return read_bounded(self.path, MAX_IMAGE_BYTES)
        except KdistillError as error:
            raise UnreadableImage(f"image {self.id!r}: {error}") from error

    def pixels(self) -> np.ndarray:
        """Returns uint8 [H, W, 3] RGB, turned upright by its EXIF tag and cropped to `box`.

        The rule for modes, transparency and 16 bits stands in `kdistill.data.decoding`.

        Raises:
            UnreadableImage: missing, truncated, not an image, of no known range, of more than `max_megapixels`, or with
                a box that holds nothing.
        """
        if self.path is None:
            image = PIL.Image.fromarray(self._array())
        else:
            image = decode(self.encoded(), self.id, self.max_megapixels)
        if self.box is not None:
            # Rounded as the reference evaluation's cropping does it: Pillow takes integers.
            left, top, right, bottom = _rounded_box(self.box, self.id)
            if (right - left) * (bottom - top) > 1e6 * self.max_megapixels:
                raise UnreadableImage(
                    f"image {self.id!r}: its box {self.box} has more than {self.max_megapixels:g} million pixels"
                )
            image = image.crop((left, top, right, bottom))
        return np.asarray(image)

    def content_hash(self) -> str:
        """Returns the sha256 (hex) of the encoded bytes and the box: equal content, equal hash, whatever the name."""
        digest = hashlib.sha256(self.encoded())
        if self.box is not None:
            digest.update(repr(tuple(float(edge) for edge in self.box)).encode())
        return digest.hexdigest()

    def _array(self) -> np.ndarray:
        if self.array is None:
            raise KdistillError(f"image {self.id!r} has neither a file nor pixels")
        return self.array


def _rounded_box(box: tuple[float, float, float, float], name: str) -> tuple[int, int, int, int]:
    try:
        left, top, right, bottom = (round(float(edge)) for edge in box)
    except (TypeError, ValueError, OverflowError):  # another number of edges, text, or no finite number
        left, top, right, bottom = 0, 0, 0, 0
    if left >= right or top >= bottom:
        raise UnreadableImage(f"image {name!r}: its box {box} is no (left, top, right, bottom) around a pixel")
    return left, top, right, bottom


def text_of(name: str) -> str:
    """Returns a file's name with the bytes that are no text as escapes: `\\xff` for what Python calls `\\udcff`."""
    if name.isascii() or not _SURROGATE.search(name):
        return name
    return _SURROGATE.sub(lambda found: _escape(ord(found[0])), name)


_SURROGATE = re.compile("[\ud800-\udfff]")


def _escape(code: int) -> str:
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"


class ImageSet(Sequence[Image]):
    """An ordered set of images with unique ids and, where they are known, class labels.

    Attributes:
        images: the images.
        ids: their ids.
        labels: int64 [n]; object [n] of str when they were given as words (`RetrievalData` numbers those); or None.
    """

    def __init__(
        self,
        images: Sequence[Image],
        labels: Sequence[int | str] | np.ndarray | None = None,
    ) -> None:
        """Checks that ids are unique and labels, when given, are one for each image.

        Args:
            images: what the set holds.
            labels: one for each image, integers or words; with a word among them all count as words.

        Raises:
            KdistillError: a repeated id, or a number of labels that differs.
        """
        self.images = tuple(images)
        self.labels = None if labels is None else label_array(labels)
        self.ids = tuple(image.id for image in self.images)
        if len(set(self.ids)) != len(self.ids):
            repeated = collections.Counter(self.ids).most_common(1)[0][0]
            raise KdistillError(f"image id {repeated!r} stands more than once in the list of images")
        if self.labels is not None and self.labels.shape != (len(self.images),):
            raise KdistillError(f"{len(self.images)} images were given with {self.labels.size} labels")

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        return self.images[index]

    def __iter__(self) -> Iterator[Image]:
        return iter(self.images)

    def subset(self, indices: Sequence[int] | np.ndarray) -> "ImageSet":
        """Returns the images at `indices` (int [n]), in that order, with their labels."""
        labels = None if self.labels is None else self.labels[np.asarray(indices, dtype=np.int64)]
        return ImageSet([self.images[int(index)] for index in indices], labels)

    def without_labels(self) -> "ImageSet":
        """Returns the same images with the labels removed."""
        return ImageSet(self.images)


@dataclasses.dataclass(frozen=True)
class LoadedImages:
    """Decoded and resized images, and what could not be read.

    Attributes:
        pixels: uint8 [n, size, size, 3].
        indices: int64 [n], positions in the set that was loaded.
        skipped: (id, reason) of each unreadable image.
    """

    pixels: np.ndarray
    indices: np.ndarray
    skipped: tuple[tuple[str, str], ...]


def load_pixels(images: ImageSet, size: int, *, strict: bool = False, description: str = "reading") -> LoadedImages:
    """Decodes and resizes a set that fits in memory (n x size x size x 3 bytes).

    Args:
        images: what to read.
        size: side of the square that each image is resized to.
        strict: raise on the first unreadable image instead of skipping it.
        description: the word in front of the progress bar.

    Raises:
        UnreadableImage: under `strict`, or when not one image can be read.
    """
    pixels = np.empty((len(images), size, size, 3), np.uint8)
    indices: list[int] = []
    skipped: list[tuple[str, str]] = []
    for index, image in enumerate(progress_bar(images, total=len(images), description=description)):
        try:
            pixels[len(indices)] = resize(image.pixels(), size)
            indices.append(index)
        except UnreadableImage as error:
            if strict:
                raise
            skipped.append((image.id, str(error)))
    if not indices:
        reason = skipped[0][1] if skipped else "the list is empty"
        raise UnreadableImage(f"none of the {len(images)} images can be read: {reason}")
    return LoadedImages(pixels[: len(indices)], np.asarray(indices, np.int64), tuple(skipped))
