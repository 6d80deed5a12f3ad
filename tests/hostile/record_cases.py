"""Hostile copies of the texts that we write ourselves: sidecars and records of stages."""

import json
from pathlib import Path

from hostile_case import Cases, sparse

from export.retriever.sidecar import read_sidecar, sidecar_path
from kdistill.stages.entries import read_entries
from kdistill.stages.workdir import Workdir

CASES = Cases()
SIDECAR = dict(ids=["a"], k=1, dimension=2, precision="float32", buffers={}, sha256="0", format=1)


@CASES.each(
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
def use_sidecar(folder: Path, content: bytes) -> None:
    sidecar_path(folder / "retriever.tflite").write_bytes(content)
    read_sidecar(folder / "retriever.tflite")


@CASES.case("sidecar: sparse file of 8 GiB")
def _(folder: Path) -> None:
    sparse(sidecar_path(folder / "retriever.tflite"), 8 << 30)
    read_sidecar(folder / "retriever.tflite")


@CASES.each(
    {
        "record: a list": b"[1]",
        "record: nested 10^5 times": b"[" * 100_000,
        "record: half": b'{"ask": {"set',
        "record: stages that are a list": b'{"format": 2, "stages": []}',
        "record: later format": b'{"format": 9, "stages": {}}',
        "record: entry without settings": b'{"format": 2, "stages": {"ask": {"figures": {}}}}',
        "record: figures that are text": b'{"format": 2, "stages": {"ask": {"settings": {}, "figures": "x"}}}',
    }
)
def use_record(folder: Path, content: bytes) -> None:
    (folder / "stages.json").write_bytes(content)
    read_entries(folder)


@CASES.case("record: work folder with a zero byte")
def _(folder: Path) -> None:
    Workdir(f"{folder}/a\0b")


@CASES.case("record: work folder that is a file")
def _(folder: Path) -> None:
    (folder / "file").touch()
    Workdir(folder / "file")
