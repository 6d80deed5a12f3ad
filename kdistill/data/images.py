"""Images as the rest of the library sees them: an id, encoded bytes, pixels, and sets of these."""

import collections
import dataclasses
import hashlib
import io
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageOps

from kdistill.console.progress import progress_bar
from kdistill.errors import KdistillError
from kdistill.files.whole import read_bounded

MAX_PIXELS = 64_000_000
"""Larger images are refused before they are decoded: a few kilobytes can claim to be gigapixels."""

MAX_IMAGE_BYTES = 256 << 20
"""Larger files are refused before they are read."""

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""What is decoded, whatever a file is called: Pillow knows others that start programs (EPS) or are rarely tested."""


class UnreadableImage(KdistillError):
    """One image could not be read; its id stands in the message."""


@dataclasses.dataclass(frozen=True, eq=False)
class Image:
    """One image: a file, or pixels in memory.

    Attributes:
        id: the name under which results speak of it (a relative path for files).
        path: the file, or None when `array` is given.
        array: uint8 [H, W, 3] RGB, or None when `path` is given.
        box: (left, top, right, bottom) in pixels to crop to after decoding, or None.
    """

    id: str
    path: Path | None = None
    array: np.ndarray | None = None
    box: tuple[float, float, float, float] | None = None

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

        Any mode that Pillow reads is accepted (grey, palette, RGBA, CMYK, 16-bit); alpha is dropped.

        Raises:
            UnreadableImage: missing, truncated, not an image, larger than MAX_PIXELS, or with a box that holds nothing.
        """
        image = PIL.Image.fromarray(self._array()) if self.path is None else decode(self.encoded(), self.id)
        if self.box is not None:
            # Rounded as the reference evaluation's cropping does it: Pillow takes integers.
            left, top, right, bottom = _rounded_box(self.box, self.id)
            if (right - left) * (bottom - top) > MAX_PIXELS:
                raise UnreadableImage(f"image {self.id!r}: its box {self.box} has more than {MAX_PIXELS:,} pixels")
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


def decode(encoded: bytes, name: str) -> PIL.Image.Image:
    """Returns an upright RGB Pillow image from the bytes of a file; `name` stands in errors.

    Raises:
        UnreadableImage: truncated, not an image, or larger than MAX_PIXELS.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with PIL.Image.open(io.BytesIO(encoded), formats=FORMATS) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise UnreadableImage(
                        f"image {name!r} has {image.width} x {image.height} pixels, "
                        f"more than the {MAX_PIXELS:,} that are accepted"
                    )
                image.load()
                PIL.ImageOps.exif_transpose(image, in_place=True)
                if image.mode.startswith("I;16") or image.mode == "I":
                    # Pillow clips 16-bit grey to 255 on conversion; keep the upper eight bits.
                    return PIL.Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
                return image.convert("RGB")
    except UnreadableImage:
        raise
    except PIL.UnidentifiedImageError as error:
        # Pillow's own words hold an address in memory.
        raise UnreadableImage(f"image {name!r} cannot be decoded: it is no image of a known kind") from error
    # Pillow's decoders raise many kinds of errors on broken files; each means the same to the user.
    except Exception as error:
        raise UnreadableImage(f"image {name!r} cannot be decoded: {error}") from error


def resize(pixels: np.ndarray, size: int) -> np.ndarray:
    """Returns uint8 [size, size, 3]: Pillow's antialiased bilinear, aspect ratio not kept.

    This is the resize that every embedding of the library is defined with.
    """
    if pixels.shape[:2] == (size, size):
        return pixels
    image = PIL.Image.fromarray(pixels).resize((size, size), PIL.Image.Resampling.BILINEAR)
    return np.asarray(image)


class ImageSet(Sequence[Image]):
    """An ordered set of images with unique ids and, where they are known, integer class labels."""

    def __init__(
        self,
        images: Sequence[Image],
        labels: Sequence[int] | np.ndarray | None = None,
    ) -> None:
        """Checks that ids are unique and labels, when given, are one for each image.

        Raises:
            KdistillError: a repeated id, or a number of labels that differs.
        """
        self.images = tuple(images)
        self.labels = None if labels is None else np.asarray(labels, dtype=np.int64)
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
