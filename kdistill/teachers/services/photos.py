"""What files of photos a service is sent: as they are where it takes them, else encoded anew."""

import base64
import io
from collections.abc import Collection
from typing import Any

import PIL.Image

from kdistill.data.images import Image, UnreadableImage
from kdistill.teachers.services.forms.form import Photos

_STARTS = {
    b"\xff\xd8": "jpeg",
    b"\x89PNG": "png",
    b"GIF8": "gif",
    b"BM": "bmp",
    b"P": "x-portable-pixmap",
}
"""What files begin with; of those that are decoded only TIFF has several beginnings."""

_QUALITY = 95
"""Of a JPEG file that takes the place of a PNG file that is too large."""


class Files:
    """Shows photos as the bytes of files.

    Attributes:
        view: identifies what is sent.
    """

    def __init__(self, photos: Photos) -> None:
        """Takes what the service takes."""
        self._photos = photos
        parts = [*photos.formats]
        parts += [] if photos.most_bytes is None else [f"{photos.most_bytes}bytes"]
        parts += [] if photos.most_side is None else [f"{photos.most_side}px"]
        parts += [] if photos.most_pixels is None else [f"{photos.most_pixels}pixels"]
        self.view = "-".join(["encoded", *parts])

    def values(self, image: Image, names: Collection[str]) -> dict[str, Any]:
        """Returns the values of those names of a template that a photo has: base64, data_uri, mime, format, bytes.

        Raises:
            UnreadableImage: it cannot be decoded (a broken file is not worth paying for), or is too large for the
                service whatever is done.
        """
        content, kind = self.file(image)
        mime = f"image/{kind}"
        found: dict[str, Any] = {"mime": mime, "format": kind, "bytes": content}
        if {"base64", "data_uri"} & set(names):
            text = base64.b64encode(content).decode("ascii")
            found |= {"base64": text, "data_uri": f"data:{mime};base64,{text}"}
        return found

    def file(self, image: Image) -> tuple[bytes, str]:
        """Returns the bytes that are sent and their format.

        A file that the service takes goes as it is. Another one, and a crop, is decoded and goes as PNG; where the
        service does not take that, or it would be too large, as JPEG. Edges that are too long are shrunk before.
        """
        pixels = image.pixels()
        photos, content = self._photos, image.encoded()
        if image.box is None and self._fits(pixels.shape[:2]) and self._short(content):
            kind = format_of(content)
            if not photos.formats or kind in photos.formats:
                return content, kind
        shown = self._shrunk(PIL.Image.fromarray(pixels))
        for kind in ("png", "jpeg"):
            if not photos.formats or kind in photos.formats:
                content = _encoded(shown, kind)
                if self._short(content):
                    return content, kind
        most = "" if photos.most_bytes is None else f" of at most {photos.most_bytes:,} bytes"
        raise UnreadableImage(f"image {image.id!r} cannot be sent as {' or '.join(photos.formats)}{most}")

    def _short(self, content: bytes) -> bool:
        return self._photos.most_bytes is None or len(content) <= self._photos.most_bytes

    def _fits(self, size: tuple[int, ...]) -> bool:
        side, pixels = self._photos.most_side, self._photos.most_pixels
        return (side is None or max(size) <= side) and (pixels is None or size[0] * size[1] <= pixels)

    def _shrunk(self, image: PIL.Image.Image) -> PIL.Image.Image:
        if self._fits(image.size):
            return image
        side = self._photos.most_side or max(image.size)
        factor = min(1.0, side / max(image.size))
        if self._photos.most_pixels is not None:
            factor = min(factor, (self._photos.most_pixels / (image.width * image.height)) ** 0.5)
        width, height = (max(1, int(edge * factor)) for edge in image.size)
        return image.resize((width, height), PIL.Image.Resampling.BILINEAR)


def format_of(content: bytes) -> str:
    """Returns the format of an image file that can be decoded (see data.decoding.FORMATS), as MIME types call it."""
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "webp"
    return next((kind for start, kind in _STARTS.items() if content.startswith(start)), "tiff")


def _encoded(image: PIL.Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **({"quality": _QUALITY} if kind == "jpeg" else {}))
    return buffer.getvalue()
