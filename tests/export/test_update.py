"""Rows are added and removed in the file itself: answers are those of a file built anew, codes stay bit for bit."""

import dataclasses

import numpy as np
import onnx
import pytest

from export.formats.flatbuffer import read_metadata, read_model, signatures
from export.formats.onnx import export_onnx
from export.formats.tflite import export_tflite
from export.retriever import Retriever
from export.retriever.build import build_retriever, build_search
from export.retriever.sidecar import read_sidecar
from export.retriever.update import read_retriever, update_retriever
from kdistill.errors import ArgumentError, KdistillError
from kdistill.files.whole import sha256_of


@pytest.fixture(scope="module")
def gallery() -> np.ndarray:
    rows = np.random.default_rng(5).normal(size=(600, 12)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def ids(gallery) -> list[str]:
    return [f"image {row}" for row in range(len(gallery))]


@pytest.fixture(scope="module", params=[".tflite", ".onnx"])
def suffix(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def student_file(student, suffix, tmp_path_factory):
    path = tmp_path_factory.mktemp("student") / f"student{suffix}"
    export = export_tflite if suffix == ".tflite" else export_onnx
    export(student, path, metadata={"note": "kept"})
    return path


@pytest.mark.parametrize("precision", ["float32", "float16", "int8"])
def test_an_update_is_a_build_from_the_same_rows(precision, gallery, ids, student_file, suffix, pixels, tmp_path):
    old, new, anew = (tmp_path / f"{name}{suffix}" for name in ("old", "new", "anew"))
    build_retriever(student_file, gallery[:500], ids[:500], old, k=7, precision=precision)
    update_retriever(old, new, remove=ids[100:350], embeddings=gallery[480:], ids=["again " + n for n in ids[480:]])
    rows = [*range(100), *range(350, 500), *range(480, 600)]
    names = [ids[row] for row in rows[:250]] + ["again " + ids[row] for row in rows[250:]]
    build_retriever(student_file, gallery[rows], names, anew, k=7, precision=precision)
    for query in gallery[::60]:
        ours, theirs = Retriever(new).search_embedding(query), Retriever(anew).search_embedding(query)
        assert [match.id for match in ours] == [match.id for match in theirs]
        # int8 rows that stay were coded around another centre than in the file built anew.
        np.testing.assert_allclose([m.score for m in ours], [m.score for m in theirs], atol=1e-4)
    assert [m.id for m in Retriever(new).search(pixels[0])] == [m.id for m in Retriever(anew).search(pixels[0])]
    assert new.stat().st_size == pytest.approx(anew.stat().st_size, abs=1500)


def test_many_updates_do_not_make_the_file_grow(gallery, ids, student_file, suffix, tmp_path):
    path = tmp_path / f"r{suffix}"
    build_retriever(student_file, gallery, ids, path, k=5, precision="int8")
    size, content = path.stat().st_size, path.read_bytes()
    _, before, _ = read_retriever(path)
    for _ in range(3):
        update_retriever(path, path, remove=ids[-3:], embeddings=gallery[-3:], ids=ids[-3:])
    _, after, _ = read_retriever(path)
    assert path.stat().st_size == pytest.approx(size, abs=200)
    if suffix == ".tflite":
        assert len(read_model(path).buffers) == len(read_model(content).buffers)
    else:
        assert path.read_bytes() == content  # the same nodes, names and constants, metadata too
    np.testing.assert_array_equal(before.values, after.values)
    np.testing.assert_array_equal(before.residual, after.residual)
    np.testing.assert_array_equal(before.scale, after.scale)


def test_the_student_stays_as_it_is(gallery, ids, student_file, suffix, tmp_path):
    path = tmp_path / f"r{suffix}"
    build_retriever(student_file, gallery, ids, path, k=5)
    student, stored, _ = read_retriever(path)
    np.testing.assert_array_equal(stored.values, gallery)
    if suffix == ".onnx":
        assert student.SerializeToString() == onnx.load(str(student_file)).SerializeToString()
    else:
        assert read_metadata(student, "note") == "kept"
        assert set(signatures(student)) == {"serving_default"}


def test_batches_are_searched_after_an_update(gallery, ids, student_file, suffix, tmp_path):
    path = tmp_path / f"r{suffix}"
    build_retriever(student_file, gallery[:500], ids[:500], path, k=5, precision="int8")
    update_retriever(path, path, remove=ids[:100], embeddings=gallery[500:], ids=ids[500:])
    scores, rows = Retriever(path).search_embeddings(gallery[60:130])
    exact = gallery[60:130] @ gallery[100:].T
    np.testing.assert_allclose(scores, -np.sort(-exact, axis=1)[:, :5], atol=1e-4)
    np.testing.assert_array_equal(rows[40:, 0], np.arange(30))


def test_the_format_cannot_change(gallery, ids, suffix, tmp_path):
    build_search(gallery, ids, tmp_path / f"r{suffix}", k=3)
    other = tmp_path / ("r.onnx" if suffix == ".tflite" else "r.tflite")
    with pytest.raises(ArgumentError, match="the same suffix"):
        update_retriever(tmp_path / f"r{suffix}", other, remove=ids[:1])
    assert not other.exists()


def test_students_and_files_of_others_are_refused(gallery, ids, student_file, suffix, tmp_path):
    path = tmp_path / f"r{suffix}"
    build_search(gallery, ids, path, k=3)
    sidecar = dataclasses.replace(read_sidecar(path), sha256=sha256_of(student_file))
    path.write_bytes(student_file.read_bytes())
    sidecar.write(path)
    with pytest.raises(KdistillError, match="not a retriever"):
        read_retriever(path)


def test_a_file_without_a_student_searches_and_updates(gallery, ids, suffix, pixels, tmp_path):
    path = tmp_path / f"r{suffix}"
    build_search(gallery, ids, path, k=3)
    update_retriever(path, path, remove=[ids[7]])
    retriever = Retriever(path)
    assert ids[7] not in {match.id for match in retriever.search_embedding(gallery[7])}
    assert retriever.search_embedding(gallery[8])[0].id == ids[8]
    with pytest.raises(KdistillError, match="without a student"):
        retriever.search(pixels[0])


def test_wrong_updates_are_refused_and_leave_the_file(gallery, ids, suffix, tmp_path):
    path = tmp_path / f"r{suffix}"
    build_search(gallery, ids, path, k=5)
    before = path.read_bytes()
    cases = [
        (dict(), ArgumentError, "nothing"),
        (dict(remove=["nobody"]), KdistillError, "nobody"),
        (dict(remove=ids), KdistillError, "empty gallery"),
        (dict(remove=ids[:-2]), ArgumentError, "k=5"),
        (dict(embeddings=gallery[:1], ids=ids[:1]), KdistillError, "already"),
        (dict(embeddings=gallery[:2], ids=["a", "a"]), KdistillError, "more than once"),
        (dict(embeddings=gallery[:1, :6], ids=["a"]), KdistillError, "6 dimensions"),
    ]
    for change, error, words in cases:
        with pytest.raises(error, match=words):
            update_retriever(path, path, **change)
    assert path.read_bytes() == before
