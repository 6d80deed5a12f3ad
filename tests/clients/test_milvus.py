"""A gallery in the embedded Milvus answers as the retriever does, by number and by name; no secret is shown."""

import logging

import numpy as np
import pymilvus
import pytest

from export.__main__ import main
from export.handover import milvus
from export.retriever import Retriever
from export.retriever.build import build_search
from export.retriever.gallery import build_gallery
from kdistill.errors import ArgumentError, KdistillError

SECRET = "not-to-be-seen"


def test_addresses_are_checked_before_anything_is_opened(monkeypatch):
    cases = [
        (f"http://root:{SECRET}@host:19530", "MILVUS_TOKEN"),
        ("gallery.sqlite", "ends in .db"),
        ("", "ends in .db"),
    ]
    for address, words in cases:
        with pytest.raises(ArgumentError, match=words) as caught, milvus.open_milvus(address):
            pass
        assert SECRET not in str(caught.value)


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    matrix = np.random.default_rng(8).normal(size=(300, 12)).astype(np.float32)
    return matrix / np.linalg.norm(matrix, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def ids(rows) -> list[str]:
    return [f'shelf "{row}"\nwörter' for row in range(len(rows))]


@pytest.fixture
def client(tmp_path):
    with milvus.open_milvus(str(tmp_path / "gallery.db")) as client:
        yield client


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_milvus_gives_our_neighbours(precision, rows, ids, client, tmp_path, monkeypatch):
    monkeypatch.setattr(milvus, "_MESSAGE_BYTES", 5000)  # so that several messages are sent
    gallery = build_gallery(rows, ids, precision)
    milvus.to_milvus(client, gallery, "photos")
    build_search(rows, ids, tmp_path / "r.tflite", k=5, precision=precision)
    scores, ours = Retriever(tmp_path / "r.tflite").search_embeddings(rows[:20])
    theirs, places = milvus.search_milvus(client, "photos", rows[:20], 5)
    np.testing.assert_array_equal(places, ours)
    np.testing.assert_allclose(theirs, scores, atol=1e-5)
    assert milvus.milvus_recall(client, gallery, "photos", rows[::7], 10) == 1.0
    assert client.list_collections() == ["photos"]
    stored = client.get("photos", ids=[250], output_fields=["id"])
    assert stored[0]["id"] == ids[250]


def test_recall_falls_when_neighbours_are_missing(rows, ids, client):
    gallery = build_gallery(rows, ids)
    milvus.to_milvus(client, gallery, "photos")
    client.delete("photos", ids=list(range(0, 300, 2)))
    recall = milvus.milvus_recall(client, gallery, "photos", rows[:40], 10)
    exact = np.argsort(-rows[:40] @ rows.T, axis=1)[:, :10]
    assert recall == pytest.approx(np.mean(exact % 2 == 1))


def test_a_collection_of_other_names_is_told(rows, ids, client):
    milvus.to_milvus(client, build_gallery(rows, ids), "photos")
    other = build_gallery(rows, [f"other {row}" for row in range(300)])
    with pytest.raises(KdistillError, match="do not belong together"):
        milvus.milvus_recall(client, other, "photos", rows[:3], 5)


def test_a_half_written_collection_never_has_its_name(rows, ids, client, monkeypatch):
    gallery = build_gallery(rows, ids)
    monkeypatch.setattr(milvus, "_MESSAGE_BYTES", 5000)
    with monkeypatch.context() as broken:
        broken.setattr(client, "flush", lambda name: (_ for _ in ()).throw(RuntimeError("cut")))
        with pytest.raises(RuntimeError, match="cut"):
            milvus.to_milvus(client, gallery, "photos")
    assert not client.has_collection("photos")
    milvus.to_milvus(client, gallery, "photos")
    assert milvus.milvus_recall(client, gallery, "photos", rows[:5], 10) == 1.0
    with pytest.raises(KdistillError, match="exists already"):
        milvus.to_milvus(client, gallery, "photos")


def test_wrong_arguments_are_named(rows, ids, client, monkeypatch):
    gallery = build_gallery(rows, ids)
    with pytest.raises(ArgumentError, match="NOPE"):
        milvus.to_milvus(client, gallery, "photos", index="NOPE")
    for name in ("", "7up", "a-b", "ä"):
        with pytest.raises(ArgumentError, match="no name of a collection"):
            milvus.to_milvus(client, gallery, name)
    long = build_gallery(rows[:1], ["x" * 70_000])
    with pytest.raises(KdistillError, match="65535 bytes"):
        milvus.to_milvus(client, long, "photos")
    assert client.list_collections() == []


def test_the_command_writes_and_checks(rows, ids, tmp_path, capsys):
    build_search(rows, ids, tmp_path / "r.onnx", k=5)
    command = ["handover", f"--retriever={tmp_path / 'r.onnx'}", "--to=milvus", f"--out={tmp_path / 'g.db'}"]
    assert main([*command, "--collection=shelves", "--index=AUTOINDEX"]) == 0
    assert "recall@10 against the exact search: 1.0000" in capsys.readouterr().out
    assert main([*command, "--collection=shelves"]) == 1
    assert "exists already" in capsys.readouterr().err


def test_no_secret_is_shown_when_a_cluster_cannot_be_reached(tmp_path, monkeypatch, capfd, caplog):
    monkeypatch.setenv(milvus.TOKEN, f"root:{SECRET}")
    caplog.set_level(logging.DEBUG)

    def refuse(uri: str, token: str) -> None:
        assert (uri, token) == ("http://127.0.0.1:1", f"root:{SECRET}")
        logging.getLogger("pymilvus.client").error("token %s", token)
        raise pymilvus.MilvusException(message=f"bad token {token} of root, password {SECRET}")

    monkeypatch.setattr(pymilvus, "MilvusClient", refuse)
    with (
        pytest.raises(KdistillError, match=r"Milvus at http://127.0.0.1:1: bad token \*\*\*") as caught,
        milvus.open_milvus("http://127.0.0.1:1"),
    ):
        pass
    assert SECRET not in str(caught.value) + caplog.text + "".join(capfd.readouterr())


def test_a_damaged_store_is_refused_with_a_sentence(tmp_path):
    (tmp_path / "bad.db").write_text("rubbish")
    with pytest.raises(KdistillError, match="Milvus at"), milvus.open_milvus(str(tmp_path / "bad.db")):
        pass
