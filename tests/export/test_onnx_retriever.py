"""`retriever.onnx` gives the answers of `retriever.tflite` and of plain arithmetic, for any number of queries."""

import subprocess
import sys

import numpy as np
import onnxruntime
import pytest

from export.formats.metadata import file_metadata, stored_precision
from export.formats.onnx import export_onnx
from export.formats.tflite import export_tflite
from export.retriever import Retriever
from export.retriever.build import build_retriever, build_search
from kdistill.errors import ArgumentError, KdistillError
from kdistill.runtimes.embedders import embed_pixels

K = 5
TOLERANCE = {"float32": 1e-5, "float16": 1e-3, "int8": 1e-4}


@pytest.fixture(scope="module")
def student_files(student, tmp_path_factory):
    folder = tmp_path_factory.mktemp("student")
    export_onnx(student, folder / "student.onnx", metadata=file_metadata(student, "float32"))
    export_onnx(student, folder / "fixed.onnx", batch=1)
    export_tflite(student, folder / "student.tflite")
    return folder


@pytest.fixture(scope="module")
def gallery(embeddings) -> np.ndarray:
    """float32 [997, 12]: crowded around the images' embeddings, which come first; blocks of this size need padding."""
    rng = np.random.default_rng(11)
    rows = embeddings[rng.integers(0, len(embeddings), 997)] + 0.1 * rng.normal(size=(997, embeddings.shape[1]))
    rows[: len(embeddings)] = embeddings
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module", params=["float32", "float16", "int8"])
def precision(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def folder(precision, student_files, gallery, tmp_path_factory):
    """Both formats of one retriever, and an ONNX file without a student."""
    folder = tmp_path_factory.mktemp(precision)
    ids = [f"image {row}" for row in range(len(gallery))]
    for suffix in ("onnx", "tflite"):
        path = folder / f"retriever.{suffix}"
        build_retriever(student_files / f"student.{suffix}", gallery, ids, path, k=K, precision=precision)
    build_search(gallery, ids, folder / "search.onnx", k=K, precision=precision)
    return folder


def queries_of(dimension: int) -> np.ndarray:
    queries = np.random.default_rng(2).normal(size=(33, dimension)).astype(np.float32)
    return queries / np.linalg.norm(queries, axis=1, keepdims=True)


@pytest.mark.parametrize("name", ["retriever.onnx", "search.onnx"])
def test_embeddings_find_what_brute_force_and_the_tflite_file_find(name, folder, precision, gallery):
    queries = np.concatenate([queries_of(gallery.shape[1]), gallery[500:510]])
    scores, rows = Retriever(folder / name).search_embeddings(queries)
    assert (scores.dtype, rows.dtype) == (np.float32, np.int32)
    exact = queries @ gallery.T
    np.testing.assert_allclose(scores, -np.sort(-exact, axis=1)[:, :K], atol=TOLERANCE[precision])
    np.testing.assert_allclose(scores, np.take_along_axis(exact, rows, axis=1), atol=TOLERANCE[precision])
    theirs, places = Retriever(folder / "retriever.tflite").search_embeddings(queries)
    np.testing.assert_allclose(scores, theirs, atol=TOLERANCE[precision])
    assert np.mean(rows == places) > 0.98  # rows whose scores tie may change places


def test_images_find_what_they_find_in_the_tflite_file(folder, pixels, embeddings):
    ours, theirs = Retriever(folder / "retriever.onnx"), Retriever(folder / "retriever.tflite")
    assert ours.image_size == theirs.image_size == 16
    for image in pixels[::7]:
        np.testing.assert_allclose(ours.embed(image), theirs.embed(image), atol=1e-5)
        matches = ours.search(image)
        assert [match.id for match in matches] == [match.id for match in theirs.search(image)]
        assert matches[0].score == pytest.approx(1, abs=1e-3)
    np.testing.assert_allclose(embed_pixels(folder / "retriever.onnx", pixels[:4]), embeddings[:4], atol=1e-5)
    assert stored_precision(folder / "retriever.onnx") == "float32"


def test_images_and_embeddings_are_searched_together(folder, pixels, gallery, embeddings):
    session = onnxruntime.InferenceSession(str(folder / "retriever.onnx"))
    both = {"image": pixels[:3], "query": gallery[700:704]}
    vectors, scores, rows = session.run(["embedding", "scores", "ids"], both)
    np.testing.assert_allclose(vectors, np.concatenate([embeddings[:3], gallery[700:704]]), atol=1e-5)
    assert scores.shape == rows.shape == (7, K)
    np.testing.assert_array_equal(rows[3:, 0], np.arange(700, 704))
    images_alone = session.run(["ids"], {"image": pixels[:3]})[0]
    np.testing.assert_array_equal(images_alone, rows[:3])


def test_a_keras_student_gives_the_answers_of_its_file(student, folder, gallery, pixels, tmp_path):
    build_retriever(student, gallery, range(len(gallery)), tmp_path / "keras.onnx", k=K)
    ours = Retriever(tmp_path / "keras.onnx").search(pixels[4])
    theirs = Retriever(folder / "retriever.tflite").search(pixels[4])
    assert [match.row for match in ours] == [match.row for match in theirs]


def test_both_formats_may_stand_in_one_folder(folder):
    assert {"retriever.json", "retriever.onnx.json"} <= {entry.name for entry in folder.iterdir()}


def test_the_client_needs_no_tensorflow_and_no_onnx(folder, gallery, tmp_path):
    np.save(tmp_path / "query.npy", gallery[3])
    client = (
        "import sys; import numpy; from export.retriever import Retriever;"
        f"r = Retriever({str(folder / 'retriever.onnx')!r});"
        f"print(r.search_embedding(numpy.load({str(tmp_path / 'query.npy')!r}))[0].row);"
        "assert not {'tensorflow', 'keras', 'onnx'} & sys.modules.keys()"
    )
    answer = subprocess.run([sys.executable, "-c", client], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "3"


@pytest.mark.parametrize("rows", [1, 12, 40])
def test_small_galleries_and_k_of_all_rows(rows, precision, gallery, tmp_path):
    build_search(gallery[:rows], range(rows), tmp_path / "r.onnx", k=rows, precision=precision)
    scores, found = Retriever(tmp_path / "r.onnx").search_embeddings(gallery[:2])
    assert [sorted(line) for line in found.tolist()] == [list(range(rows))] * 2
    np.testing.assert_allclose(scores, -np.sort(-gallery[:2] @ gallery[:rows].T, axis=1), atol=TOLERANCE[precision])


def test_int8_stores_two_bytes_a_coordinate(tmp_path):
    wide = np.random.default_rng(0).normal(size=(4000, 64)).astype(np.float32)
    wide /= np.linalg.norm(wide, axis=1, keepdims=True)
    sizes = {}
    for precision in ("float32", "int8"):
        build_search(wide, range(4000), tmp_path / "r.onnx", k=3, precision=precision)
        sizes[precision] = (tmp_path / "r.onnx").stat().st_size
    # Two codes of a byte, and two numbers for each row.
    assert sizes["int8"] < 0.55 * sizes["float32"]


def test_wrong_students_and_files_are_refused(student_files, folder, gallery, tmp_path):
    path = tmp_path / "r.onnx"
    ids = range(len(gallery))
    narrow = gallery[:, :8] / np.linalg.norm(gallery[:, :8], axis=1, keepdims=True)
    (tmp_path / "rubbish.onnx").write_bytes(b"rubbish")
    cases = [
        (dict(student=student_files / "fixed.onnx"), KdistillError, "fixed batch of 1"),
        (dict(student=student_files / "student.tflite"), KdistillError, "not an ONNX file"),
        (dict(student=tmp_path / "rubbish.onnx"), KdistillError, "not an ONNX file"),
        (dict(student=tmp_path / "none.onnx"), KdistillError, "cannot be read"),
        (dict(student=folder / "search.onnx"), KdistillError, "not a student"),
        (dict(embeddings=narrow), KdistillError, "8 dimensions"),
        (dict(k=998), ArgumentError, "k=998"),
    ]
    for change, error, words in cases:
        arguments = {"student": student_files / "student.onnx", "embeddings": gallery, "ids": ids, "path": path, "k": K}
        with pytest.raises(error, match=words):
            build_retriever(**arguments | change)
    assert not path.exists()
    build_search(gallery, ids, path, k=K)
    path.write_bytes((student_files / "student.onnx").read_bytes())
    with pytest.raises(KdistillError, match="not a retriever"):
        Retriever(path, check_sha256=False)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(KdistillError, match="belong together"):
        Retriever(path)
