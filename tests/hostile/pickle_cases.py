"""Hostile ground-truth pickles."""

import pickle
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
from hostile_case import MARKER, Cases, Payload

from kdistill.data.layouts.revisited import revisited_data
from kdistill.files.restricted_pickle import load_plain

CASES = Cases()


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


@CASES.each(PICKLES)
def use_pickle(folder: Path, build: Callable[[Path], bytes]) -> None:
    (folder / "jpg").mkdir()
    (folder / "gnd_x.pkl").write_bytes(build(folder))
    load_plain(folder / "gnd_x.pkl")
    revisited_data(folder)
