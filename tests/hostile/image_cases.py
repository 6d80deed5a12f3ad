"""Hostile images and folders of them."""

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import PIL.Image
from hostile_case import Cases, sparse

from kdistill.data import Image
from kdistill.data.folder import find_images, folder_data

CASES = Cases()


def encoded(kind: str, size: tuple[int, int] = (64, 64)) -> bytes:
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    PIL.Image.fromarray(noise).save(buffer, kind)
    return buffer.getvalue()


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, content: bytes, *others: bytes) -> bytes:
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(others) + png_chunk(b"IDAT", content) + png_chunk(b"IEND", b"")


def jpeg_of(width: int, height: int) -> bytes:
    content = bytearray(encoded("JPEG"))
    place = content.index(b"\xff\xc0")
    content[place + 5 : place + 9] = struct.pack(">HH", height, width)
    return bytes(content)


POSTSCRIPT = (
    b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n"
    b"(code_ran) (w) file closefile\nshowpage\n%%EOF\n"
)

IMAGES: dict[str, bytes] = {
    "image: truncated jpeg": encoded("JPEG")[:900],
    "image: truncated png": encoded("PNG")[:5000],
    "image: truncated webp": encoded("WEBP")[:700],
    "image: truncated gif": encoded("GIF")[:600],
    "image: empty file": b"",
    "image: text called jpg": b"this is no image\n" * 20,
    "image: web page called png": b"<!doctype html><script>alert(1)</script>",
    "image: svg with script": b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>',
    "image: postscript program called jpg": POSTSCRIPT,
    "image: zip called png": b"PK\x03\x04" + bytes(60),
    "image: pdf called jpg": b"%PDF-1.4\n1 0 obj<</OpenAction 2 0 R>>endobj\n",
    "image: png of 60000 x 60000": png(60000, 60000, zlib.compress(bytes(1000))),
    "image: png of 2^31 x 2^31": png(2**31 - 1, 2**31 - 1, zlib.compress(b"")),
    "image: png bomb of 30000 x 30000": png(30000, 30000, zlib.compress(bytes(90001 * 3000), 9)),
    "image: png with a wrong checksum": encoded("PNG").replace(b"IDAT", b"IDAT\0", 1),
    "image: png with a text bomb": png(
        8, 8, zlib.compress(bytes(200)), png_chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(300 << 20), 9))
    ),
    "image: gif of 65535 x 65535": b"GIF89a\xff\xff\xff\xff\x00\x00\x00,\0\0\0\0\xff\xff\xff\xff\0\x08\x01\0\0;",
    "image: jpeg of 65500 x 65500": jpeg_of(65500, 65500),
    "image: ppm of 10^5 x 10^5": b"P6 100000 100000 255\n" + bytes(100),
    "image: ppm with a sign": b"P6 -100 100 255\n" + bytes(100),
    "image: bmp of 2^30 x 2^30": b"BM"
    + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 2**30, 2**30, 1, 24, *[0] * 6),
    "image: tiff whose directory is itself": b"II*\0\x08\0\0\0" + b"\x01\0" + bytes(12) + b"\x08\0\0\0",
    "image: tiff of 10^6 x 10^6": b"II*\0\x08\0\0\0\x03\0"
    + struct.pack("<HHII", 256, 4, 1, 10**6)
    + struct.pack("<HHII", 257, 4, 1, 10**6)
    + struct.pack("<HHII", 259, 3, 1, 1)
    + bytes(4),
}


@CASES.each(IMAGES)
def read_image(folder: Path, content: bytes) -> None:
    (folder / "photo.jpg").write_bytes(content)
    os.chdir(folder)
    Image("photo.jpg", path=folder / "photo.jpg").pixels()


@CASES.case("image: sparse file of 8 GiB")
def _(folder: Path) -> None:
    Image("a.jpg", path=sparse(folder / "a.jpg", 8 << 30)).pixels()


@CASES.case("image: named pipe")
def _(folder: Path) -> None:
    os.mkfifo(folder / "a.jpg")
    Image("a.jpg", path=folder / "a.jpg").pixels()


@CASES.case("image: link to an endless device")
def _(folder: Path) -> None:
    (folder / "a.jpg").symlink_to("/dev/zero")
    Image("a.jpg", path=folder / "a.jpg").pixels()


@CASES.case("image: link to itself")
def _(folder: Path) -> None:
    (folder / "a.jpg").symlink_to(folder / "a.jpg")
    Image("a.jpg", path=folder / "a.jpg").pixels()


@CASES.each(
    {
        "name: folder": "",
        "name: zero byte": "a\0b.jpg",
        "name: line breaks and escapes": "a\nerror: all is well\r\x1b[2J.jpg",
        "name: longer than any file system": "x" * 100_000 + ".jpg",
        "name: no utf-8": "\udcff\udcfe.jpg",
    }
)
def missing_image(folder: Path, name: str) -> None:
    Image(name, path=folder / name).pixels()


@CASES.case("folder: links in a circle")
def _(folder: Path) -> None:
    (folder / "a").mkdir()
    (folder / "a" / "b").symlink_to(folder)
    (folder / "c.jpg").symlink_to(folder / "c.jpg")
    find_images(folder)


@CASES.case("folder: no classes")
def _(folder: Path) -> None:
    (folder / "gallery").write_text("a file")
    folder_data(folder)


@CASES.each(
    {
        "image: box turned round": (5, 0, 2, 8),
        "image: box of nothing": (3, 3, 3, 8),
        "image: box that is not finite": (0, 0, float("nan"), 8),
        "image: box without an end": (0, 0, float("inf"), 8),
        "image: box of 10^12 pixels": (0, 0, 10**6, 10**6),
        "image: box of two edges": (0, 4),
        "image: box of text": ("a", 0, 4, 4),
    }
)
def crop(folder: Path, box: tuple) -> None:
    Image("a", array=np.zeros((8, 8, 3), np.uint8), box=box).pixels()
