"""One photo, the same pixels however it comes: a path, bytes, an open file, a Pillow image.

The rule. The first frame; turned upright by the orientation in EXIF (or XMP); colours as they stand in the file: colour
profiles are ignored, and alpha is dropped, so a transparent pixel has the colour that the file holds under it. Channels
of 16 bits keep their upper eight, of fewer than eight bits are spread over the whole range. Where a file does not say
which value is white (floating point, integers of 32 bits or with a sign) it is refused, since a unit is never guessed.
"""

import contextlib
import io
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import PIL.Image
import PIL.ImageOps

from kdistill.data.pillow_limit import MAX_MEGAPIXELS, sizes_allowed
from kdistill.errors import KdistillError
from kdistill.files.whole import read_bounded

MAX_IMAGE_BYTES = 256 << 20
"""Larger files are refused before they are read."""

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""What is decoded, whatever a file is called: Pillow knows others that start programs (EPS) or are rarely tested."""

Photo = PIL.Image.Image | np.ndarray | os.PathLike | str | bytes | BinaryIO
"""A path, the bytes of a file, a file opened in binary mode, a Pillow image, or uint8 [H, W, 3] RGB."""


class UnreadableImage(KdistillError):
    """One image could not be read; its id stands in the message."""


def photo_pixels(photo: Photo, max_megapixels: float = MAX_MEGAPIXELS) -> np.ndarray:
    """Returns uint8 [H, W, 3] RGB, by the rule above.

    An open file is read from its beginning. A Pillow image may be loaded or not, and is taken at the frame where it
    stands.

    Raises:
        UnreadableImage: it cannot be read or decoded, is too large, or is an array of another shape or type.
    """
    if isinstance(photo, np.ndarray):
        if photo.dtype != np.uint8 or photo.ndim != 3 or photo.shape[2] != 3 or not photo.size:
            raise UnreadableImage(
                f"an array that is an image is uint8 [height, width, 3]; this one is {photo.dtype} {list(photo.shape)}"
            )
        return photo
    if isinstance(photo, PIL.Image.Image):
        name = str(getattr(photo, "filename", "")) or "given as a Pillow image"
        if getattr(photo, "tile", None) and getattr(photo, "fp", None) is None:
            raise UnreadableImage(f"image {name!r} cannot be read: it was closed before its pixels were loaded")
        with _in_a_sentence(name, max_megapixels), sizes_allowed(max_megapixels):
            return np.asarray(upright_rgb(photo, name, max_megapixels))
    if isinstance(photo, str | os.PathLike):
        name = os.fsdecode(photo)
        try:
            return np.asarray(decode(read_bounded(Path(name), MAX_IMAGE_BYTES), name, max_megapixels))
        except UnreadableImage:
            raise
        except KdistillError as error:
            raise UnreadableImage(f"image {error}") from error
    if isinstance(photo, bytes | bytearray | memoryview):
        return np.asarray(decode(bytes(photo), "given as bytes", max_megapixels))
    if callable(getattr(photo, "read", None)):
        return np.asarray(decode(_content(photo), "given as an open file", max_megapixels))
    raise UnreadableImage(
        "an image is a path, bytes, a file opened in binary mode, a Pillow image or an array uint8 [height, width, 3], "
        f"and {type(photo).__name__} was given"
    )


def decode(encoded: bytes, name: str, max_megapixels: float = MAX_MEGAPIXELS) -> PIL.Image.Image:
    """Returns an upright RGB Pillow image from the bytes of a file; `name` stands in errors.

    Raises:
        UnreadableImage: truncated, not an image, of no known range, or of more than `max_megapixels` million pixels.
    """
    with (
        _in_a_sentence(name, max_megapixels, encoded),
        sizes_allowed(max_megapixels),
        PIL.Image.open(io.BytesIO(encoded), formats=FORMATS) as image,
    ):
        return upright_rgb(image, name, max_megapixels)


def upright_rgb(image: PIL.Image.Image, name: str, max_megapixels: float = MAX_MEGAPIXELS) -> PIL.Image.Image:
    """Returns a Pillow image turned upright and in mode RGB; the given one is loaded and otherwise left alone.

    Raises:
        UnreadableImage: too large, or of no known range.
        Exception: whatever Pillow raises on a broken file.
    """
    millions = image.width * image.height / 1e6
    if millions > max_megapixels:
        raise UnreadableImage(
            f"image {name!r} has {image.width} x {image.height} pixels ({millions:.4g} million), "
            f"more than the {max_megapixels:g} million that are accepted; --max_megapixels sets how many"
        )
    if _mapped_askew(image):
        raise UnreadableImage(
            f"image {name!r} was loaded by Pillow, which confuses the sides of a TIFF file that is turned by its EXIF "
            "tag when it loads it by its name; give the path, the bytes, or the Pillow image before it is loaded"
        )
    _load(image)
    fault = _unknown_range(image)
    if fault:
        raise UnreadableImage(
            f"image {name!r} holds {fault}; save it as grey or colour with 8 or 16 whole bits a channel"
        )
    upright = PIL.ImageOps.exif_transpose(image)
    if upright.mode.startswith("I"):
        # Pillow clips 16-bit grey to 255 on conversion; keep the upper eight bits.
        upright = PIL.Image.fromarray((np.asarray(upright) >> 8).astype(np.uint8))
    if upright.mode == "La":  # Pillow has no way from grey multiplied by alpha to RGB
        upright = upright.convert("LA")
    return upright if upright.mode == "RGB" else upright.convert("RGB")


def resize(pixels: np.ndarray, size: int) -> np.ndarray:
    """Returns uint8 [size, size, 3]: Pillow's antialiased bilinear, aspect ratio not kept.

    This is the resize that every embedding of the library is defined with.
    """
    if pixels.shape[:2] == (size, size):
        return pixels
    image = PIL.Image.fromarray(pixels).resize((size, size), PIL.Image.Resampling.BILINEAR)
    return np.asarray(image)


def _load(image: PIL.Image.Image) -> None:
    filename = getattr(image, "filename", "")
    if image.format != "TIFF" or not filename:
        image.load()
        return
    # Pillow maps some TIFF files into memory when it knows their name, and then confuses the sides of turned ones.
    image.filename = ""  # type: ignore[attr-defined]
    try:
        image.load()
    finally:
        image.filename = filename  # type: ignore[attr-defined]


def _mapped_askew(image: PIL.Image.Image) -> bool:
    """Says whether Pillow has mapped a TIFF file into memory that stands on its side: its pixels are in disorder."""
    filename = getattr(image, "filename", "")
    if image.format != "TIFF" or not filename or getattr(image, "map", None) is None:
        return False
    try:
        with PIL.Image.open(filename) as unloaded:
            return unloaded.getexif().get(274, 1) > 4
    except Exception:  # the file went away or is another now; what is in memory cannot be judged by it
        return False


def _unknown_range(image: PIL.Image.Image) -> str:
    """Returns what an image holds whose black and white are not known, or that Pillow reads wrongly; else ""."""
    if image.mode == "F":
        return "floating-point values, and does not say which of them is white"
    # Pillow calls 16-bit grey `I` in the formats that have no wider integers.
    if image.mode == "I" and image.format not in ("PNG", "PPM"):
        return "integers of 32 bits or with a sign, and does not say which of them is white"
    tags = getattr(image, "tag_v2", {})  # of TIFF files
    bits, photometric, planes = tags.get(258, (8,)), tags.get(262), tags.get(284, 1)
    if image.mode.startswith("I;16") and bits == (12,):
        return "12-bit grey, which is not read"
    if image.mode.startswith("I;16") and photometric == 0:
        return "16-bit grey in which zero is white, which is not read"
    if len(bits) > 1 and bits[0] == 16 and planes == 2:
        return "16-bit colours in separate planes, which are not read"
    if tags.get(339, (1,))[0] == 2 and image.mode == "L":
        return "grey values with a sign, and does not say which of them is white"
    return ""


def _content(file: BinaryIO) -> bytes:
    try:
        if file.seekable():
            file.seek(0)
        content = file.read(MAX_IMAGE_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: it was closed
        raise UnreadableImage(f"the image given as an open file cannot be read: {error}") from error
    if not isinstance(content, bytes):
        raise UnreadableImage("the image given as an open file was opened as text; open it with mode 'rb'")
    if len(content) > MAX_IMAGE_BYTES:
        raise UnreadableImage(f"the image given as an open file has more than the {MAX_IMAGE_BYTES:,} bytes accepted")
    return content


@contextlib.contextmanager
def _in_a_sentence(name: str, max_megapixels: float, encoded: bytes = b"") -> Iterator[None]:
    """Turns whatever a decoder raises or warns of into UnreadableImage."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except UnreadableImage:
        raise
    except PIL.Image.DecompressionBombError as error:  # above Pillow's own limit
        raise UnreadableImage(
            f"image {name!r} has more than the {max_megapixels:g} million pixels that are accepted; "
            "--max_megapixels sets how many"
        ) from error
    except PIL.UnidentifiedImageError as error:
        # Pillow's own words hold an address in memory.
        raise UnreadableImage(f"image {name!r} cannot be decoded: {_kind(encoded)}") from error
    # Pillow's decoders raise many kinds of errors on broken files; each means the same to the user.
    except Exception as error:
        raise UnreadableImage(f"image {name!r} cannot be decoded: {str(error) or type(error).__name__}") from error


_SIGNATURES = (
    (4, (b"ftyphei", b"ftyphev", b"ftypmif1", b"ftypmsf1"), "a HEIC photo"),
    (4, (b"ftypavi",), "an AVIF photo"),
    (0, (b"\x00\x00\x00\x0cJXL ", b"\xff\x0a"), "a JPEG XL photo"),
    (0, (b"\x00\x00\x00\x0cjP  ", b"\xff\x4f\xff\x51"), "a JPEG 2000 photo"),
    (0, (b"8BPS",), "a Photoshop file"),
    (0, (b"%PDF",), "a PDF"),
    (0, (b"<svg", b"<?xml"), "a drawing or other XML"),
)


def _kind(encoded: bytes) -> str:
    if not encoded:
        return "it is empty"
    for place, signatures, kind in _SIGNATURES:
        if encoded[place:].startswith(signatures):
            return f"it is {kind}, which is not read here; convert it to JPEG or PNG"
    return "it is no image of a known kind"
