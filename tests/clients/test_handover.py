"""Other search libraries find our neighbours in a gallery that is handed over."""

import faiss
import numpy as np
import pytest

from export.__main__ import main
from export.handover.files import to_faiss, to_usearch
from export.retriever import Retriever
from export.retriever.build import build_search
from export.retriever.gallery import build_gallery


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    matrix = np.random.default_rng(8).normal(size=(300, 12)).astype(np.float32)
    return matrix / np.linalg.norm(matrix, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def ids(rows) -> list[str]:
    return [f"image {row}" for row in range(len(rows))]


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_other_tools_give_our_neighbours(precision, rows, ids, tmp_path):
    gallery = build_gallery(rows, ids, precision)
    build_search(rows, ids, tmp_path / "r.tflite", k=5, precision=precision)
    scores, ours = Retriever(tmp_path / "r.tflite").search_embeddings(rows[:20])
    theirs, places = to_faiss(gallery).search(rows[:20], 5)
    np.testing.assert_array_equal(places, ours)
    np.testing.assert_allclose(theirs, scores, atol=1e-5)
    matches = to_usearch(gallery).search(rows[:20], 5, exact=True)
    np.testing.assert_array_equal(matches.keys, ours)


@pytest.mark.parametrize("suffix", [".tflite", ".onnx"])
def test_a_gallery_is_handed_over_by_command(suffix, rows, ids, tmp_path):
    path = tmp_path / f"r{suffix}"
    build_search(rows, ids, path, k=5)
    assert main(["handover", f"--retriever={path}", "--to=faiss", f"--out={tmp_path / 'g.faiss'}"]) == 0
    index = faiss.read_index(str(tmp_path / "g.faiss"))
    assert index.ntotal == 300
    assert index.search(rows[7:8], 1)[1].tolist() == [[7]]
