"""Very large galleries: a search reads a few blocks of rows, and still finds the neighbours."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.search.grown_gallery import clusters, grow
from benchmarks.search.race import exact_rows, recall
from export.retriever.build import build_search
from export.retriever.client import Retriever
from export.retriever.gallery import build_gallery
from export.retriever.sidecar import read_sidecar
from export.retriever.update import read_retriever, update_retriever
from export.search import first_pass, lists
from export.search.lists import SLOTS, build_lists, lists_of

ROWS, DIMENSION = 6000, 16


@pytest.fixture(autouse=True)
def every_gallery_counts_as_very_large(monkeypatch):
    monkeypatch.setattr(lists, "MIN_ROWS", 0)
    monkeypatch.setattr(first_pass, "LIST_COST", 1e-3)  # blocks are never too dear
    monkeypatch.setattr(first_pass, "SHARES_OF_LISTS", (0.2, 0.4, 0.6, 0.8))


@pytest.fixture(scope="module")
def data() -> tuple[np.ndarray, np.ndarray]:
    """Rows grown from clusters, float32 [6000, 16], and 40 points of the clusters that they were not grown from."""
    base = clusters(np.random.default_rng(0), DIMENSION)
    return grow(base[40:], ROWS, np.random.default_rng(1)), base[:40]


def names(count: int, prefix: str = "") -> list[str]:
    return [f"{prefix}{row}" for row in range(count)]


@pytest.mark.parametrize("leading", [False, True])
def test_answers_are_those_of_float32(leading, data, monkeypatch, tmp_path):
    gallery, queries = data
    if leading:
        monkeypatch.setattr(first_pass, "MIN_CODES", 0)
        monkeypatch.setattr(first_pass, "ROW_COST", 0)
        weights = np.linspace(1, 0.05, DIMENSION, dtype=np.float32) ** 3
        gallery, queries = (part * weights for part in data)
        gallery, queries = (part / np.linalg.norm(part, axis=1, keepdims=True) for part in (gallery, queries))
    path = tmp_path / "r.tflite"
    build_search(gallery, names(ROWS), path, k=10, precision="int8")
    sidecar = read_sidecar(path)
    assert sidecar.probes < 0.9 * len(build_lists(gallery).centres)
    assert (sidecar.scanned is not None) == leading
    retriever = Retriever(path)
    scores, found = retriever.search_embeddings(queries)
    assert recall(found, exact_rows(gallery, queries, 10)) > 0.98
    np.testing.assert_allclose(scores, np.take_along_axis(queries @ gallery.T, found, axis=1), atol=1e-4)
    for row in (0, 39):  # one query alone has the answer that it has among others
        assert [match.row for match in retriever.search_embedding(queries[row])] == found[row].tolist()


def test_rows_that_stay_keep_their_codes_and_new_ones_are_found(data, tmp_path):
    gallery, queries = data
    path = tmp_path / "r.tflite"
    build_search(gallery[:5500], names(5500), path, k=10, precision="int8")
    before = build_gallery(gallery[:5500], names(5500), "int8", k=10)
    update_retriever(path, path, remove=["0", "17"], embeddings=gallery[5500:], ids=names(500, "new "))
    after = read_retriever(path)[1]
    keep = np.delete(np.arange(5500), [0, 17])
    for name in ("values", "residual", "scale"):
        np.testing.assert_array_equal(getattr(after, name)[:5498], getattr(before, name)[keep])
    np.testing.assert_array_equal(after.lists.of_rows[:5498], before.lists.of_rows[keep])
    rows = np.delete(gallery, [0, 17], axis=0)
    np.testing.assert_allclose(after.rows(), rows, atol=1e-4)
    assert recall(Retriever(path).search_embeddings(queries)[1], exact_rows(rows, queries, 10)) > 0.98


@given(st.integers(1, 700), st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_every_row_has_one_slot(count, seed):
    rows = np.random.default_rng(seed).normal(size=(count, 4)).astype(np.float32)
    rows[: count // 3] = rows[0]  # many that are the same
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    made = build_lists(rows)
    assert np.bincount(made.of_rows, minlength=len(made.centres)).max() <= SLOTS
    slots = made.rows_of_slots()
    assert sorted(slots[slots >= 0]) == list(range(count))
    back, places = lists_of(made.centres, slots, 3)
    np.testing.assert_array_equal(back.of_rows, made.of_rows)
    np.testing.assert_array_equal(slots[places], np.arange(count))
    np.testing.assert_allclose(np.linalg.norm(made.centres, axis=1), 1, atol=1e-5)


def test_directions_without_neighbourhoods_are_scanned_whole(monkeypatch):
    monkeypatch.setattr(first_pass, "SHARES_OF_LISTS", (0.02,))
    rows = np.random.default_rng(2).normal(size=(ROWS, DIMENSION)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    assert build_gallery(rows, names(ROWS), "int8").lists is None


def test_empty_slots_are_never_found(tmp_path, monkeypatch):
    """Rows away from the query have scores below those of empty slots, which are zero before the centre is added."""
    monkeypatch.setattr(first_pass, "MIN_RECALL", 0.0)
    gallery = clusters(np.random.default_rng(4), DIMENSION)[:700]
    build_search(gallery, names(700), tmp_path / "r.tflite", k=10, precision="int8")
    assert read_sidecar(tmp_path / "r.tflite").probes is not None
    scores, found = Retriever(tmp_path / "r.tflite").search_embeddings(-gallery[:50])
    np.testing.assert_allclose(scores, np.take_along_axis(-gallery[:50] @ gallery.T, found, axis=1), atol=1e-4)
    assert all(len(set(rows)) == 10 for rows in found.tolist())
