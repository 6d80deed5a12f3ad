"""Large int8 galleries: the scan reads leading coordinates, and the answers stay those of float32."""

import json

import numpy as np
import pytest

from export.retriever.build import build_retriever, build_search
from export.retriever.client import MAX_BATCH, Retriever
from export.retriever.gallery import build_gallery
from export.retriever.shards import ShardedRetriever, build_shards
from export.retriever.sidecar import read_sidecar
from export.retriever.update import read_retriever, update_retriever
from export.search import first_pass, outside_queries
from export.search.layout import layout
from kdistill import students
from kdistill.errors import KdistillError

ROWS, DIMENSION = 9001, 32


@pytest.fixture(autouse=True)
def every_gallery_counts_as_large(monkeypatch):
    monkeypatch.setattr(first_pass, "MIN_CODES", 0)
    monkeypatch.setattr(first_pass, "ROW_COST", 0)  # no scan is so short that a longer shortlist costs more


@pytest.fixture(scope="module")
def data() -> tuple[np.ndarray, np.ndarray]:
    """Rows float32 [9001, 32] about a mean, most of their energy in 8 oblique directions, and 40 queries like them."""
    rng = np.random.default_rng(5)
    points = rng.normal(size=(ROWS + 40, 8)) @ rng.normal(size=(8, DIMENSION)) / 3
    points += 2 * rng.normal(size=DIMENSION) + 0.1 * rng.normal(size=points.shape)
    points = (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)
    return points[:ROWS], points[ROWS:]


def names(count: int, prefix: str = "") -> list[str]:
    return [f"{prefix}{row}" for row in range(count)]


def recall(found: np.ndarray, gallery: np.ndarray, queries: np.ndarray) -> float:
    exact = np.argsort(-(queries @ gallery.T), axis=1)[:, : found.shape[1]]
    return float(
        np.mean([len(set(one) & set(other)) for one, other in zip(found, exact, strict=True)]) / found.shape[1]
    )


@pytest.mark.parametrize("suffix", ["tflite", "onnx"])
def test_answers_are_those_of_float32(suffix, data, tmp_path):
    gallery, queries = data
    path = tmp_path / f"r.{suffix}"
    build_search(gallery, names(ROWS), path, k=10, precision="int8")
    assert read_sidecar(path).scanned == 12
    retriever = Retriever(path)
    scores, found = retriever.search_embeddings(queries)  # more than MAX_BATCH of them
    assert len(queries) > MAX_BATCH
    assert recall(found, gallery, queries) > 0.99
    np.testing.assert_allclose(scores, np.take_along_axis(queries @ gallery.T, found, axis=1), atol=1e-4)
    for row in (0, 39):
        assert [match.row for match in retriever.search_embedding(queries[row])] == found[row].tolist()


@pytest.mark.parametrize("suffix", ["tflite", "onnx"])
def test_rows_that_stay_keep_their_codes(suffix, data, tmp_path):
    gallery, queries = data
    path = tmp_path / f"r.{suffix}"
    build_search(gallery[:8000], names(8000), path, k=5, precision="int8")
    update_retriever(path, path, remove=["0", "17"], embeddings=gallery[8000:], ids=names(1001, "new "))
    (before, after) = build_gallery(gallery[:8000], names(8000), "int8"), read_retriever(path)[1]
    keep = np.delete(np.arange(8000), [0, 17])
    for name in ("values", "residual", "scale"):
        np.testing.assert_array_equal(getattr(after, name)[:7998], getattr(before, name)[keep])
    np.testing.assert_array_equal(after.first_pass.rotation, before.first_pass.rotation)
    rows = np.delete(gallery, [0, 17], axis=0)
    np.testing.assert_allclose(after.rows(), rows, atol=1e-4)
    assert recall(Retriever(path).search_embeddings(queries)[1], rows, queries) > 0.99


def test_a_retriever_with_a_student_and_shards(student, pixels, monkeypatch, tmp_path):
    monkeypatch.setattr(first_pass, "MIN_RECALL", 0.5)  # 36 rows are too few for any certainty
    embeddings = np.asarray(student.predict(pixels, verbose=0))
    build_retriever(student, embeddings, names(36), tmp_path / "r.tflite", k=3, precision="int8")
    assert read_sidecar(tmp_path / "r.tflite").scanned is not None
    expected = np.sort(embeddings @ embeddings[4])[::-1][:3]
    found = Retriever(tmp_path / "r.tflite").search(pixels[4])
    assert found[0].id == "4"
    np.testing.assert_allclose([match.score for match in found], expected, atol=1e-3)
    files = build_shards(
        student, embeddings, names(36), tmp_path / "s.tflite", rows_per_shard=20, k=3, precision="int8"
    )
    merged = ShardedRetriever(files).search(pixels[4])
    np.testing.assert_allclose([match.score for match in merged], expected, atol=1e-3)


@pytest.mark.parametrize("scanned", [0, DIMENSION, -3, 1.5, "12"])
def test_a_sidecar_with_a_wrong_part_is_refused(scanned, data, tmp_path):
    path = tmp_path / "r.tflite"
    build_search(data[0][:500], names(500), path, precision="int8")
    content = json.loads((tmp_path / "r.json").read_text()) | {"scanned": scanned}
    (tmp_path / "r.json").write_text(json.dumps(content))
    with pytest.raises(KdistillError, match="damaged"):
        read_sidecar(path)


def test_energy_in_all_directions_needs_all_coordinates(monkeypatch, tmp_path):
    monkeypatch.setattr(first_pass, "ROW_COST", 40_000)
    rng = np.random.default_rng(2)
    gallery = rng.normal(size=(ROWS, DIMENSION)).astype(np.float32)
    gallery /= np.linalg.norm(gallery, axis=1, keepdims=True)
    assert build_gallery(gallery, names(ROWS), "int8").first_pass is None
    build_search(gallery, names(ROWS), tmp_path / "r.tflite", precision="int8")
    assert json.loads((tmp_path / "r.json").read_text())["scanned"] is None


def test_small_galleries_are_scanned_whole(data, monkeypatch):
    gallery, _ = data
    monkeypatch.setattr(first_pass, "MIN_CODES", ROWS * DIMENSION + 1)
    assert build_gallery(gallery, names(ROWS), "int8").first_pass is None


def test_the_choice_does_not_depend_on_the_pieces(data, monkeypatch):
    gallery, _ = data
    whole = build_gallery(gallery, names(ROWS), "int8")
    monkeypatch.setattr(first_pass, "_CHUNK", 7)
    monkeypatch.setattr(outside_queries, "_CHUNK", 200)
    parts = build_gallery(gallery, names(ROWS), "int8")
    np.testing.assert_array_equal(whole.first_pass.rotation, parts.first_pass.rotation)
    assert (whole.scanned, whole.measured) == (parts.scanned, parts.measured)
    np.testing.assert_allclose(whole.first_pass.rotation @ whole.first_pass.rotation.T, np.eye(DIMENSION), atol=1e-5)


def test_maxima_of_maxima_are_exact(tmp_path):
    rows, k = 40_003, 10
    assert len(layout(rows, k).depths) == 2
    rng = np.random.default_rng(1)
    gallery = rng.normal(size=(rows, 8)).astype(np.float32)
    gallery /= np.linalg.norm(gallery, axis=1, keepdims=True)
    for suffix in ("tflite", "onnx"):
        build_search(gallery, names(rows), tmp_path / f"r.{suffix}", k=k)
        found = Retriever(tmp_path / f"r.{suffix}").search_embeddings(gallery[::2000])[1]
        assert recall(found, gallery, gallery[::2000]) == 1.0


def test_every_shard_is_judged_by_the_queries_that_are_given(data, tmp_path):
    gallery, _ = data
    given = gallery[np.random.default_rng(2).permutation(ROWS)[: outside_queries.MIN_GIVEN]] + 0.05
    given /= np.linalg.norm(given, axis=1, keepdims=True)
    student = students.build("small_cnn", image_size=16, embedding_dim=DIMENSION)
    files = build_shards(
        student, gallery, names(ROWS), tmp_path / "r.tflite", rows_per_shard=5000, k=5, precision="int8", queries=given
    )
    for file in files:
        assert "given" in read_sidecar(file).measured.kinds
