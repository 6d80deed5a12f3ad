"""Loaders of files from outside, fed with mutations of good files and with noise: only our errors may come out."""

import contextlib
import io
import pickle
import sqlite3
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from export.retriever.sidecar import Sidecar, read_sidecar, sidecar_path
from kdistill.data.images import decode
from kdistill.data.layouts.lists import read_list
from kdistill.data.layouts.revisited import revisited_data
from kdistill.errors import KdistillError
from kdistill.files.archives import load_arrays
from kdistill.files.restricted_pickle import load_plain
from kdistill.stages.entries import settings_of
from kdistill.teachers import Ledger, open_teacher

bounded = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


def bytes_of(write) -> bytes:
    buffer = io.BytesIO()
    write(buffer)
    return buffer.getvalue()


def a_ledger() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        with Ledger(Path(folder) / "ledger.sqlite") as ledger:
            ledger.bind("teacher", "view", 3)
        connection = sqlite3.connect(Path(folder) / "ledger.sqlite")
        connection.execute("PRAGMA journal_mode=DELETE")
        connection.close()
        return (Path(folder) / "ledger.sqlite").read_bytes()


TRUTH = {"imlist": ["a", "b"], "qimlist": ["a"], "gnd": [{"bbx": [0, 0, 1, 1], "easy": [1], "hard": [], "junk": [0]}]}
SIDECAR = Sidecar(("a", "b"), 1, 2, "float32", {"gallery": 3}, "0")
NOISE = np.random.default_rng(0).integers(0, 256, (9, 9, 3), np.uint8)
GOOD: dict[str, list[bytes]] = {
    "image": [
        bytes_of(lambda file, kind=kind: PIL.Image.fromarray(NOISE).save(file, kind))
        for kind in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM")
    ],
    "npz": [bytes_of(lambda file: np.savez(file, ids=["a", "b"], embeddings=np.ones((2, 3))))],
    "npy": [bytes_of(lambda file: np.save(file, np.ones((2, 3), np.float32)))],
    "pickle": [pickle.dumps(TRUTH, protocol) for protocol in (0, 2, 4)]
    + [pickle.dumps({"a": np.arange(4), "b": np.float32(1), "c": {1, 2}}, protocol) for protocol in (2, 4)],
    "list": [
        b"a.jpg, 1, 2\nb/c.jpg, 3\n\n",
        "\u00e4.jpg, 7\n".encode(),
        b'\xef\xbb\xbf"a, ""b"".jpg" , cat\r\nc.jpg,1',
    ],
    "ledger": [a_ledger()],
    "json": [b'{"ids": ["a"], "k": 1, "format": 1}', b'{"ask": {"settings": {"seed": 1}}}'],
}


@st.composite
def mutated(draw, kind: str) -> bytes:
    content = bytearray(draw(st.sampled_from(GOOD[kind])))
    for _ in range(draw(st.integers(0, 6))):
        place = draw(st.integers(0, max(0, len(content) - 1)))
        change = draw(st.sampled_from(["set", "cut", "insert", "repeat", "drop"]))
        if change == "set" and content:
            content[place] = draw(st.integers(0, 255))
        elif change == "cut":
            content = content[:place]
        elif change == "insert":
            content[place:place] = draw(st.binary(max_size=8))
        elif change == "repeat":
            content[place:place] = content[place : place + draw(st.integers(1, 40))]
        else:
            del content[place : place + draw(st.integers(1, 8))]
    return bytes(content)


def either(kind: str) -> st.SearchStrategy[bytes]:
    return st.one_of(mutated(kind), mutated(kind), st.binary(max_size=200))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


def use(loader, path: Path, content: bytes) -> None:
    path.write_bytes(content)
    sentence = "none"
    try:
        loader(path)
    except KdistillError as error:
        sentence = str(error)
    assert sentence
    assert "\n" not in sentence


@bounded
@given(either("image"))
def test_images(content):
    with contextlib.suppress(KdistillError):
        assert np.asarray(decode(content, "photo")).shape[2] == 3


@bounded
@given(either("npz"))
def test_npz_tables(folder, content):
    use(open_teacher, folder / "table.npz", content)
    use(lambda path: load_arrays(path, ["ids"]), folder / "table.npz", content)


@bounded
@given(header=st.text(max_size=80), body=st.binary(max_size=40))
def test_npz_headers(folder, header, body):
    text = header.encode("latin1", "replace")
    array = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + body
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("ids.npy", array)
        archive.writestr("embeddings.npy", array)
    use(open_teacher, folder / "table.npz", buffer.getvalue())


@bounded
@given(either("npy"), st.binary(max_size=20))
def test_npy_tables(folder, content, ids):
    (folder / "table.txt").write_bytes(ids)
    use(open_teacher, folder / "table.npy", content)


@bounded
@given(either("pickle"))
def test_pickles(folder, content):
    use(load_plain, folder / "x.pkl", content)


values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 10**20) | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["bbx", "easy", "hard"]), inner),
    max_leaves=12,
)


@bounded
@given(imlist=values, qimlist=values, gnd=values, bbx=values, easy=values)
def test_ground_truths(folder, imlist, qimlist, gnd, bbx, easy):
    (folder / "jpg").mkdir(exist_ok=True)
    record = {"bbx": bbx, "easy": easy, "hard": [], "junk": []}
    for content in (
        dict(imlist=imlist, qimlist=qimlist, gnd=gnd),
        dict(imlist=["a"], qimlist=["a"], gnd=[record]),
        dict(imlist=["a"], qimlist=["a"], gnd=[dict(record, bbx=[0, 0, 1, 1])]),
        dict(imlist=["a"], qimlist=["a"], gnd=[dict(record, easy=[])]),
    ):
        use(lambda path: revisited_data(path.parent), folder / "gnd_x.pkl", pickle.dumps(content))


@bounded
@given(either("list"), st.booleans())
def test_lists(folder, content, labelled):
    use(lambda path: read_list(path.parent, path.name, labelled=labelled), folder / "list.csv", content)


@bounded
@given(either("ledger"))
def test_ledgers(tmp_path_factory, content):
    def ask(path):
        with Ledger(path, create=False) as ledger:
            ledger.check("teacher", "view", 3)
            ledger.bind("teacher", "view", 3)
            ledger.states(["x"])
            ledger.summary()
            list(ledger.rows())

    with tempfile.TemporaryDirectory() as place:
        use(ask, Path(place) / "ledger.sqlite", content)


@bounded
@given(either("json"))
def test_sidecars_and_records(folder, content):
    SIDECAR.write(folder / "retriever.tflite")
    good = sidecar_path(folder / "retriever.tflite").read_bytes()
    use(lambda path: read_sidecar(folder / "retriever.tflite"), folder / "retriever.json", good + content)
    use(lambda path: read_sidecar(folder / "retriever.tflite"), folder / "retriever.json", content)
    use(lambda path: settings_of(path.parent), folder / "stages.json", content)
