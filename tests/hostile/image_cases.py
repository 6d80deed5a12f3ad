"""Hostile images and folders of them."""

import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
from hostile_case import Cases, sparse

from kdistill.data import Image, UnreadableImage
from kdistill.data.decoding import photo_pixels
from kdistill.data.layouts.folder import find_images, folder_data

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


def tiff(*entries: tuple[int, int, int], content: bytes = bytes(4096), order: str = "<") -> bytes:
    """A TIFF of 8 x 8 pixels after its head: (tag, 3 for 16 or 4 for 32 bits, value), other tags as given here."""
    known = {256: (4, 8), 257: (4, 8), 258: (3, 32), 259: (3, 1), 262: (3, 1), 273: (4, 0), 277: (3, 1), 278: (4, 8)}
    known |= {279: (4, len(content))} | {tag: (kind, value) for tag, kind, value in entries}
    known[273] = known[273] if known[273][1] else (4, 8 + 2 + 12 * len(known) + 4)
    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(f"{order}IH", 8, len(known))
    for tag, (kind, value) in sorted(known.items()):
        number = struct.pack(order + {3: "H", 4: "I"}[kind], value)
        head += struct.pack(f"{order}HHI", tag, kind, 1) + number.ljust(4, b"\0")
    return head + bytes(4) + content


def in_mode(mode: str, kind: str) -> bytes:
    buffer = io.BytesIO()
    PIL.Image.new(mode, (8, 8), 3).save(buffer, kind)
    return buffer.getvalue()


# What does not say which value is white, or would be read wrongly, and photos of kinds that are not read.
UNITS: dict[str, bytes] = {
    "image: floating-point tiff": in_mode("F", "TIFF"),
    "image: floating-point tiff, big end first": tiff((339, 3, 3), order=">"),
    "image: floating-point tiff of infinities": tiff((339, 3, 3), content=b"\0\0\x80\x7f" * 64),
    "image: floating-point tiff in which zero is white": tiff((339, 3, 3), (262, 3, 0)),
    "image: 32-bit tiff": in_mode("I", "TIFF"),
    "image: 32-bit tiff without a sign": tiff((339, 3, 1)),
    "image: 16-bit tiff with a sign": tiff((258, 3, 16), (339, 3, 2)),
    "image: 8-bit tiff with a sign": tiff((258, 3, 8), (339, 3, 2)),
    "image: 64-bit floating-point tiff": tiff((258, 3, 64), (339, 3, 3)),
    "image: 24-bit grey tiff": tiff((258, 3, 24)),
    "image: 12-bit tiff": tiff((258, 3, 12)),
    "image: 16-bit tiff in which zero is white": tiff((258, 3, 16), (262, 3, 0)),
    "image: tiff without pixels": tiff((258, 3, 8), (257, 4, 0)),
    "image: tiff whose pixels lie beyond its end": tiff((258, 3, 8), (273, 4, 2**31)),
    "image: tiff of no known compression": tiff((258, 3, 8), (259, 3, 65000)),
    "image: tiff of 65535 channels": tiff((277, 3, 65535)),
    "image: portable float map": b"Pf\n8 8\n-1.0\n" + bytes(256),
    "image: portable float map in colour": b"PF\n8 8\n-1.0\n" + bytes(768),
    "image: heic": bytes(3) + b"\x18ftypheic" + bytes(100),
    "image: heic sequence": bytes(3) + b"\x18ftypmsf1" + bytes(100),
    "image: avif": bytes(3) + b"\x18ftypavif" + bytes(100),
    "image: jpeg xl": b"\xff\x0a" + bytes(100),
    "image: jpeg 2000": b"\x00\x00\x00\x0cjP  \r\n\x87\n" + bytes(100),
    "image: photoshop": b"8BPS\0\1" + bytes(100),
}


@CASES.each(UNITS)
def read_unit(folder: Path, content: bytes) -> None:
    (folder / "photo.jpg").write_bytes(content)
    try:
        photo_pixels(folder / "photo.jpg")
    except UnreadableImage:
        Image("photo.jpg", path=folder / "photo.jpg").pixels()


def closed(folder: Path) -> object:
    with open(folder / "a.png", "xb") as file:
        file.write(encoded("PNG"))
    return file


def closed_image(folder: Path) -> object:
    (folder / "a.png").write_bytes(encoded("PNG"))
    with PIL.Image.open(folder / "a.png") as image:
        return image


def truncated_image(folder: Path) -> object:
    return PIL.Image.open(io.BytesIO(encoded("JPEG")[:900]))


PHOTOS: dict[str, Callable[[Path], object]] = {
    "photo: nothing": lambda folder: None,
    "photo: number": lambda folder: 7,
    "photo: list": lambda folder: [[1, 2, 3]],
    "photo: closed file": closed,
    "photo: file for writing": lambda folder: io.FileIO(folder / "a.png", "w"),
    "photo: text file": lambda folder: io.StringIO("text"),
    "photo: endless device": lambda folder: io.BufferedReader(io.FileIO("/dev/zero")),
    "photo: closed pillow image": closed_image,
    "photo: truncated pillow image": truncated_image,
    "photo: pillow image of floats": lambda folder: PIL.Image.new("F", (8, 8), float("nan")),
    "photo: pillow image of 81 million pixels": lambda folder: PIL.Image.new("1", (9000, 9000)),
    "photo: array of floats": lambda folder: np.zeros((8, 8, 3)),
    "photo: array of one axis": lambda folder: np.zeros(8, np.uint8),
    "photo: empty array": lambda folder: np.zeros((0, 0, 3), np.uint8),
    "photo: name with a zero byte": lambda folder: "a\0b.jpg",
    "photo: folder": lambda folder: folder,
    "photo: address": lambda folder: "https://example.org/photo.jpg",
}


@CASES.each(PHOTOS)
def read_photo(folder: Path, build: Callable[[Path], object]) -> None:
    photo_pixels(build(folder))  # type: ignore[arg-type]


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


@CASES.case("folder: only hidden images")
def _(folder: Path) -> None:
    for name in (".ipynb_checkpoints", "@eaDir", "__MACOSX", "a/.b"):
        (folder / name).mkdir(parents=True)
        (folder / name / "a.jpg").write_bytes(encoded("JPEG"))
    find_images(folder)


@CASES.case("folder: only links that lead nowhere")
def _(folder: Path) -> None:
    for name in ("a.jpg", "b", "c\udcff.jpg"):
        (folder / name).symlink_to(folder / "gone")
    find_images(folder)


@CASES.case("folder: link to everything")
def _(folder: Path) -> None:
    (folder / "all").symlink_to("/")
    find_images(folder)


@CASES.case("folder: only photos of other kinds")
def _(folder: Path) -> None:
    (folder / "a.HEIC").write_bytes(b"x")
    find_images(folder)


@CASES.case("folder: 400 folders in one another")
def _(folder: Path) -> None:
    os.chdir(folder)
    for _ in range(400):
        os.mkdir("ab")
        os.chdir("ab")
    os.chdir(folder)
    find_images(folder)


@CASES.case("folder: pipe called jpg")
def _(folder: Path) -> None:
    os.mkfifo(folder / "a.jpg")
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
