"""Hostile files for everything that is read without TensorFlow. Each case writes its file and tries to use it."""

import io
import json
import os
import pickle
import sqlite3
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image

from export.sidecar import read_sidecar, sidecar_path
from kdistill.data import Image
from kdistill.data.folder import find_images, folder_data
from kdistill.data.lists import read_list
from kdistill.data.restricted_pickle import load_plain
from kdistill.data.revisited import revisited_data
from kdistill.settings import Settings
from kdistill.teachers import Ledger, open_teacher
from kdistill.teachers.transfer import import_table
from kdistill.workdir import Workdir

Case = Callable[[Path], object]
CASES: dict[str, Case] = {}
MARKER = "code_ran"
"""A file of this name in the case's folder means that code of the file was run."""


def case(name: str) -> Callable[[Case], Case]:
    def add(function: Case) -> Case:
        assert name not in CASES
        CASES[name] = function
        return function

    return add


def cases(names_and_values: dict[str, object]) -> Callable[[Callable[[Path, object], object]], None]:
    """Adds one case for each value."""

    def add(function: Callable[[Path, object], object]) -> None:
        for name, value in names_and_values.items():
            case(name)(lambda folder, value=value: function(folder, value))

    return add


def sparse(path: Path, size: int) -> Path:
    with open(path, "wb") as file:
        file.truncate(size)
    return path


class Payload:
    """A pickle of this makes a file when it is loaded with `pickle.load`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder / MARKER),)


# Images


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


@cases(dict(IMAGES))
def read_image(folder: Path, content: bytes) -> None:  # type: ignore[misc]
    (folder / "photo.jpg").write_bytes(content)
    os.chdir(folder)
    Image("photo.jpg", path=folder / "photo.jpg").pixels()


@case("image: sparse file of 8 GiB")
def _(folder: Path) -> None:
    Image("a.jpg", path=sparse(folder / "a.jpg", 8 << 30)).pixels()


@case("image: named pipe")
def _(folder: Path) -> None:
    os.mkfifo(folder / "a.jpg")
    Image("a.jpg", path=folder / "a.jpg").pixels()


@case("image: link to an endless device")
def _(folder: Path) -> None:
    (folder / "a.jpg").symlink_to("/dev/zero")
    Image("a.jpg", path=folder / "a.jpg").pixels()


@case("image: link to itself")
def _(folder: Path) -> None:
    (folder / "a.jpg").symlink_to(folder / "a.jpg")
    Image("a.jpg", path=folder / "a.jpg").pixels()


@cases(
    {
        "name: folder": "",
        "name: zero byte": "a\0b.jpg",
        "name: line breaks and escapes": "a\nerror: all is well\r\x1b[2J.jpg",
        "name: longer than any file system": "x" * 100_000 + ".jpg",
        "name: no utf-8": "\udcff\udcfe.jpg",
    }
)
def missing_image(folder: Path, name: str) -> None:  # type: ignore[misc]
    Image(name, path=folder / name).pixels()


@case("folder: links in a circle")
def _(folder: Path) -> None:
    (folder / "a").mkdir()
    (folder / "a" / "b").symlink_to(folder)
    (folder / "c.jpg").symlink_to(folder / "c.jpg")
    find_images(folder)


@case("folder: no classes")
def _(folder: Path) -> None:
    (folder / "gallery").write_text("a file")
    folder_data(folder)


# Lists


LISTS: dict[str, bytes] = {
    "list: path traversal": b"../../../etc/passwd, 1\n",
    "list: path traversal in the middle": b"a/../../b.jpg, 1\n",
    "list: absolute path": b"/etc/passwd, 1\n",
    "list: no label": b"a.jpg\n",
    "list: label of 30 digits": b"a.jpg, " + b"9" * 30,
    "list: label of 10^5 digits": b"a.jpg, " + b"9" * 100_000,
    "list: field of 20 MB": b"a" * 20_000_000,
    "list: no utf-8": b"\xff\xfe\x00a.jpg, 1\n",
    "list: nothing": b"\n\n\n",
    "list: name twice": b"a.jpg, 1\na.jpg, 2\n",
    "list: zeros": bytes(1000),
}


@cases(dict(LISTS))
def use_list(folder: Path, content: bytes) -> None:  # type: ignore[misc]
    (folder / "list.txt").write_bytes(content)
    read_list(folder, "list.txt", labelled=True)


@case("list: sparse file of 8 GiB")
def _(folder: Path) -> None:
    sparse(folder / "list.txt", 8 << 30)
    read_list(folder, "list.txt", labelled=True)


@case("list: named pipe")
def _(folder: Path) -> None:
    os.mkfifo(folder / "list.txt")
    read_list(folder, "list.txt", labelled=True)


# Pickles


def laughs() -> object:
    value: object = "ha"
    for _ in range(12):
        value = [value] * 10
    return value


PICKLES: dict[str, Callable[[Path], bytes]] = {
    "pickle: code": lambda folder: pickle.dumps({"imlist": Payload(folder)}),
    "pickle: code, protocol 0": lambda folder: pickle.dumps(Payload(folder), 0),
    "pickle: eval": lambda folder: (
        b"cbuiltins\neval\n(V__import__('os').mkdir('%s')\ntR." % str(folder / MARKER).encode()
    ),
    "pickle: attribute of a module": lambda folder: b"cos\nsystem\n.",
    "pickle: numpy load": lambda folder: b"cnumpy\nload\n(Vx\ntR.",
    "pickle: truncated": lambda folder: pickle.dumps(list(range(1000)))[:500],
    "pickle: memory for 2^31 numbered objects": lambda folder: b"]r\xff\xff\xff\x7f.",
    "pickle: string of 2^60 bytes": lambda folder: b"\x8e" + struct.pack("<Q", 2**60) + b"x.",
    "pickle: ten lists of ten lists": lambda folder: pickle.dumps({"imlist": laughs(), "qimlist": [], "gnd": []}),
    "pickle: nested a million times": lambda folder: b"(" * 1_000_000 + b".",
    "pickle: lists in lists": lambda folder: b"]" * 100_000 + b"a" * 99_999 + b".",
    "pickle: array of 2^40 numbers": lambda folder: pickle.dumps(np.zeros(4)).replace(
        b"K\x04\x85", b"\x8a\x06" + struct.pack("<Q", 2**40)[:6] + b"\x85"
    ),
    "pickle: array of objects": lambda folder: pickle.dumps(np.array([None, 1], object)),
    "pickle: no pickle": lambda folder: b"\x00\x01\x02",
    "pickle: path traversal": lambda folder: pickle.dumps({"imlist": ["../../etc/passwd"], "qimlist": [], "gnd": []}),
    "pickle: position beyond the gallery": lambda folder: pickle.dumps(
        {"imlist": ["a"], "qimlist": ["a"], "gnd": [{"bbx": [0, 0, 1, 1], "easy": [10**12], "hard": [], "junk": []}]}
    ),
}


@cases(dict(PICKLES))
def use_pickle(folder: Path, build: Callable[[Path], bytes]) -> None:  # type: ignore[misc]
    (folder / "jpg").mkdir()
    (folder / "gnd_x.pkl").write_bytes(build(folder))
    load_plain(folder / "gnd_x.pkl")
    revisited_data(folder)


# Tables


def npy(header: str, content: bytes = b"") -> bytes:
    text = header.encode().ljust(118) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + content


def npz(**entries: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(f"{name}.npy", content)
    return buffer.getvalue()


def array(value: object) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.asarray(value), allow_pickle=True)
    return buffer.getvalue()


def encrypted(content: bytes) -> bytes:
    changed = bytearray(content)
    for signature, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = changed.find(signature)
        while start >= 0:
            changed[start + place] |= 1
            start = changed.find(signature, start + 1)
    return bytes(changed)


def wrong_checksum(content: bytes) -> bytes:
    changed = bytearray(content)
    changed[changed.rindex(b"PK\x01\x02") + 16] ^= 1
    return bytes(changed)


GOOD = dict(ids=array(["a", "b"]), embeddings=array(np.ones((2, 3), np.float32)))
CODE = "{'descr': __import__('os').mkdir('code_ran'), 'fortran_order': False, 'shape': (2, 3), }"
HUGE = "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000, 1000000), }"
LONG = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2000000000), }"

TABLES: dict[str, Callable[[Path], bytes]] = {
    "table: bomb of 300 MiB": lambda folder: npz(ids=GOOD["ids"], embeddings=bytes(300 << 20)),
    "table: code in an array of objects": lambda folder: npz(
        ids=GOOD["ids"], embeddings=array(np.array([Payload(folder)] * 2, object))
    ),
    "table: code in ids": lambda folder: npz(ids=array(np.array([Payload(folder)], object)), embeddings=array([[1.0]])),
    "table: code in a header": lambda folder: npz(ids=GOOD["ids"], embeddings=npy(CODE)),
    "table: header of 10^15 numbers": lambda folder: npz(ids=GOOD["ids"], embeddings=npy(HUGE)),
    "table: header of 16 GB": lambda folder: npz(ids=GOOD["ids"], embeddings=npy(LONG, bytes(100))),
    "table: header that never ends": lambda folder: npz(ids=GOOD["ids"], embeddings=npy("{'descr': " + "[" * 100)),
    "table: no embeddings": lambda folder: npz(ids=GOOD["ids"]),
    "table: path traversal in the archive": lambda folder: npz(**{"../../ids": GOOD["ids"], "embeddings": b""}),
    "table: embeddings that are text": lambda folder: npz(ids=GOOD["ids"], embeddings=array([["a", "b"]] * 2)),
    "table: more ids than rows": lambda folder: npz(ids=array(["a"]), embeddings=GOOD["embeddings"]),
    "table: id twice": lambda folder: npz(ids=array(["a", "a"]), embeddings=GOOD["embeddings"]),
    "table: truncated": lambda folder: npz(**GOOD)[:200],
    "table: encrypted": lambda folder: encrypted(npz(**GOOD)),
    "table: wrong checksum": lambda folder: wrong_checksum(npz(**GOOD)),
    "table: ten thousand files": lambda folder: npz(**{f"a{index}": b"" for index in range(10_001)}),
    "table: no archive": lambda folder: b"no archive at all",
    "table: scalars": lambda folder: npz(ids=array("a"), embeddings=array(1.0)),
}


@cases(dict(TABLES))
def use_table(folder: Path, build: Callable[[Path], bytes]) -> None:  # type: ignore[misc]
    os.chdir(folder)
    (folder / "table.npz").write_bytes(build(folder))
    open_teacher(folder / "table.npz")


@cases(
    {
        "table: npy with code": npy(CODE),
        "table: npy of 10^15 numbers": npy(HUGE),
        "table: npy of objects": array(np.array([None, 1], object)),
        "table: npy that is none": b"x" * 100,
    }
)
def use_npy(folder: Path, content: bytes) -> None:  # type: ignore[misc]
    os.chdir(folder)
    (folder / "table.npy").write_bytes(content)
    (folder / "table.txt").write_text("a\nb\n")
    open_teacher(folder / "table.npy")


@case("table: ids in a sparse file of 8 GiB")
def _(folder: Path) -> None:
    np.save(folder / "table.npy", np.ones((2, 3)))
    sparse(folder / "table.txt", 8 << 30)
    open_teacher(folder / "table.npy")


@case("table: parquet that is none")
def _(folder: Path) -> None:
    (folder / "table.parquet").write_bytes(b"PAR1" + b"\xff" * 100 + b"PAR1")
    open_teacher(folder / "table.parquet")


@case("table: ledger table of text")
def _(folder: Path) -> None:
    np.savez(folder / "t.npz", ids=["a"], contents=["b"], embeddings=[["c"]], teacher="t", view="v")
    with Ledger(folder / "ledger.sqlite") as ledger:
        import_table(ledger, folder / "t.npz")


# Ledgers


def ledger_with(folder: Path, *statements: str) -> Path:
    path = folder / "ledger.sqlite"
    with Ledger(path) as ledger:
        ledger.bind("teacher", "view")
    connection = sqlite3.connect(path)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()
    return path


@cases(
    {
        "ledger: trigger that resets the budget": (
            "CREATE TRIGGER reset AFTER UPDATE ON source BEGIN UPDATE source SET spent = 0; END",
        ),
        "ledger: view in the place of a table": (
            "ALTER TABLE questions RENAME TO hidden",
            "CREATE VIEW questions AS SELECT * FROM hidden",
        ),
        "ledger: later format": ("UPDATE source SET format = 99",),
        "ledger: text in the place of a number": ("UPDATE source SET format = 'x'",),
        "ledger: column gone": ("ALTER TABLE source DROP COLUMN spent",),
        "ledger: two of itself": (
            "INSERT INTO source (id, format, teacher, view, spent, created_at) VALUES (2, 1, 't', 'v', 0, 0)",
        ),
    }
)
def use_ledger(folder: Path, statements: tuple[str, ...]) -> None:  # type: ignore[misc]
    with Ledger(ledger_with(folder, *statements)) as ledger:
        ledger.summary()


@cases({"ledger: text": b"no database " * 100, "ledger: only a head": b"SQLite format 3\0" + bytes(84)})
def use_no_ledger(folder: Path, content: bytes) -> None:  # type: ignore[misc]
    (folder / "ledger.sqlite").write_bytes(content)
    with Ledger(folder / "ledger.sqlite", create=False) as ledger:
        ledger.bind("teacher", "view")
        ledger.check("another", "view")


@case("ledger: pages of noise")
def _(folder: Path) -> None:
    path = ledger_with(folder)
    content = bytearray(path.read_bytes())
    content[100:] = np.random.default_rng(0).bytes(len(content) - 100)
    path.write_bytes(bytes(content))
    with Ledger(path) as ledger:
        ledger.summary()


@case("ledger: named pipe")
def _(folder: Path) -> None:
    os.mkfifo(folder / "ledger.sqlite")
    with Ledger(folder / "ledger.sqlite"):
        pass


# Texts of our own


SIDECAR = dict(ids=["a"], k=1, dimension=2, precision="float32", buffers={}, sha256="0", format=1)


@cases(
    {
        "sidecar: no json": b"\xff\xfe",
        "sidecar: nested 10^5 times": b"[" * 100_000,
        "sidecar: a list": b"[]",
        "sidecar: later format": json.dumps(SIDECAR | {"format": 7}).encode(),
        "sidecar: text for a number": json.dumps(SIDECAR | {"k": "1"}).encode(),
        "sidecar: numbers for names": json.dumps(SIDECAR | {"ids": [1, 2]}).encode(),
        "sidecar: unknown entry": json.dumps(SIDECAR | {"code": "x"}).encode(),
        "sidecar: number of 10^5 digits": b'{"format": ' + b"9" * 100_000 + b"}",
    }
)
def use_sidecar(folder: Path, content: bytes) -> None:  # type: ignore[misc]
    sidecar_path(folder / "retriever.tflite").write_bytes(content)
    read_sidecar(folder / "retriever.tflite")


@case("sidecar: sparse file of 8 GiB")
def _(folder: Path) -> None:
    sparse(sidecar_path(folder / "retriever.tflite"), 8 << 30)
    read_sidecar(folder / "retriever.tflite")


@cases({"record: a list": b"[1]", "record: nested 10^5 times": b"[" * 100_000, "record: half": b'{"ask": {"set'})
def use_record(folder: Path, content: bytes) -> None:  # type: ignore[misc]
    (folder / "stages.json").write_bytes(content)
    Workdir(folder).is_done("ask", Settings())


@case("record: work folder with a zero byte")
def _(folder: Path) -> None:
    Workdir(f"{folder}/a\0b")


@case("record: work folder that is a file")
def _(folder: Path) -> None:
    (folder / "file").touch()
    Workdir(folder / "file")
