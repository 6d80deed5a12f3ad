"""Hostile tables of embeddings."""

import io
import os
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from hostile_case import Cases, Payload, sparse

from kdistill.teachers import Ledger, open_teacher
from kdistill.teachers.ledger.transfer import import_table

CASES = Cases()


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


@CASES.each(TABLES)
def use_table(folder: Path, build: Callable[[Path], bytes]) -> None:
    os.chdir(folder)
    (folder / "table.npz").write_bytes(build(folder))
    open_teacher(folder / "table.npz")


@CASES.each(
    {
        "table: npy with code": npy(CODE),
        "table: npy of 10^15 numbers": npy(HUGE),
        "table: npy of objects": array(np.array([None, 1], object)),
        "table: npy that is none": b"x" * 100,
    }
)
def use_npy(folder: Path, content: bytes) -> None:
    os.chdir(folder)
    (folder / "table.npy").write_bytes(content)
    (folder / "table.txt").write_text("a\nb\n")
    open_teacher(folder / "table.npy")


@CASES.case("table: ids in a sparse file of 8 GiB")
def _(folder: Path) -> None:
    np.save(folder / "table.npy", np.ones((2, 3)))
    sparse(folder / "table.txt", 8 << 30)
    open_teacher(folder / "table.npy")


@CASES.case("table: parquet that is none")
def _(folder: Path) -> None:
    (folder / "table.parquet").write_bytes(b"PAR1" + b"\xff" * 100 + b"PAR1")
    open_teacher(folder / "table.parquet")


@CASES.case("table: ledger table of text")
def _(folder: Path) -> None:
    np.savez(folder / "t.npz", ids=["a"], contents=["b"], embeddings=[["c"]], teacher="t", view="v")
    with Ledger(folder / "ledger.sqlite") as ledger:
        import_table(ledger, folder / "t.npz")
