"""Retrievers over binary codes, run by their runtimes, against plain counting."""

import importlib

import numpy as np
import pytest

from export.__main__ import main
from export.handover import milvus
from export.retriever import Retriever
from export.retriever.build import build_retriever, build_search
from export.retriever.gallery import build_gallery
from export.retriever.update import update_retriever
from export.search.hamming import in_order, interleaved, runs
from kdistill import students
from kdistill.errors import ArgumentError, KdistillError
from kdistill.hashing.codes import pack_codes
from kdistill.hashing.hamming import hamming_neighbours

SUFFIXES = [".tflite", ".onnx"]


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def clustered(count: int, bits: int, seed: int = 0) -> np.ndarray:
    """float32 [count, bits] of norm 1: few different codes, so that ties are everywhere."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((12, bits))
    return unit(centres[rng.integers(0, 12, count)] + 0.4 * rng.standard_normal((count, bits)))


def expected(query: np.ndarray, gallery: np.ndarray, k: int) -> tuple[list[int], list[float]]:
    distances = [sum((a >= 0) != (b >= 0) for a, b in zip(query, row, strict=True)) for row in gallery]
    order = sorted(range(len(gallery)), key=lambda row: (distances[row], row))[:k]
    return order, [1 - 2 * distances[row] / len(query) for row in order]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(("count", "bits", "k"), [(10, 16, 3), (700, 32, 5), (701, 64, 1), (707, 128, 9), (3, 8, 3)])
def test_answers_are_the_nearest_codes_and_ties_go_to_the_lower_row(tmp_path, suffix, count, bits, k):
    gallery, queries = clustered(count, bits), clustered(6, bits, seed=1)
    path = tmp_path / f"retriever{suffix}"
    build_search(gallery, [f"row {row}" for row in range(count)], path, k=k, precision="binary")
    retriever = Retriever(path)
    scores, rows = retriever.search_embeddings(queries)
    for query, got_scores, got_rows in zip(queries, scores, rows, strict=True):
        wanted_rows, wanted_scores = expected(query, gallery, k)
        assert got_rows.tolist() == wanted_rows
        np.testing.assert_allclose(got_scores, wanted_scores, atol=1e-6)
    one = retriever.search_embedding(queries[2])
    assert [match.row for match in one] == rows[2].tolist()
    assert one[0].id == f"row {rows[2][0]}"


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(("count", "bits", "k"), [(10, 16, 3), (700, 32, 5), (707, 256, 9), (3, 8, 3)])
def test_an_embedding_searches_the_same_codes(tmp_path, suffix, count, bits, k):
    gallery, queries = clustered(count, bits), clustered(6, bits, seed=1)
    path = tmp_path / f"retriever{suffix}"
    build_search(gallery, [f"row {row}" for row in range(count)], path, k=k, precision="asymmetric")
    scores, rows = Retriever(path).search_embeddings(queries)
    cosines = queries @ np.where(gallery >= 0, 1, -1).T / bits**0.5
    # The query is rounded to eight bits of its largest coordinate: K halves of a step, at most, in either score.
    error = bits**0.5 * np.abs(queries).max(axis=1, keepdims=True) / 254 * 1.01
    found = np.take_along_axis(cosines, rows, axis=1)
    assert (np.abs(scores - found) < error).all()
    assert (found > -np.sort(-cosines, axis=1)[:, :k] - 2 * error).all()
    # Rows of one code tie exactly, and the lower one comes first.
    signs = np.where(gallery >= 0, 1, -1)
    for found_rows, values in zip(rows, scores, strict=True):
        for first, second in zip(range(k - 1), range(1, k), strict=True):
            if (signs[found_rows[first]] == signs[found_rows[second]]).all():
                assert values[first] == values[second]
                assert found_rows[first] < found_rows[second]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_one_file_embeds_and_searches_by_the_signs(tmp_path, suffix, pixels):
    import keras

    keras.utils.set_random_seed(5)
    student = students.build("small_cnn", image_size=16, embedding_dim=12, hash_bits=16)
    embeddings = np.asarray(student.predict(pixels, verbose=0))
    assert len(np.unique(pack_codes(embeddings), axis=0)) > 3
    path = tmp_path / f"retriever{suffix}"
    build_retriever(student, embeddings, [str(row) for row in range(36)], path, k=4, precision="binary")
    retriever = Retriever(path)
    for row in (0, 17, 35):
        np.testing.assert_allclose(retriever.embed(pixels[row]), embeddings[row], atol=1e-4)
        assert [match.row for match in retriever.search(pixels[row])] == expected(embeddings[row], embeddings, 4)[0]


def test_a_packed_gallery_takes_a_byte_for_eight_bits():
    gallery = build_gallery(clustered(100, 64), [str(row) for row in range(100)], "binary")
    assert gallery.values.nbytes == 100 * 8
    assert (gallery.precision, gallery.dimension) == ("binary", 64)
    np.testing.assert_allclose(np.linalg.norm(gallery.rows(), axis=1), 1, rtol=1e-6)


def test_the_onnx_file_holds_packed_codes(tmp_path):
    rows = clustered(20_000, 64)
    sizes = {}
    for precision in ("binary", "float32"):
        path = tmp_path / f"{precision}.onnx"
        build_search(rows, [str(row) for row in range(len(rows))], path, precision=precision)
        sizes[precision] = path.stat().st_size
    assert sizes["float32"] > 20_000 * 64 * 4
    assert sizes["binary"] < 20_000 * 8 + 20_000


def test_rows_are_added_and_removed_without_touching_the_others():
    rows = clustered(10, 16)
    gallery = build_gallery(rows[:8], list("abcdefgh"), "binary").without_rows(["b"]).with_rows(rows[8:], ["x", "y"])
    np.testing.assert_array_equal(gallery.values, pack_codes(rows[[0, 2, 3, 4, 5, 6, 7, 8, 9]]))
    with pytest.raises(KdistillError, match="rows of 8 dimensions were given to a gallery of 16"):
        gallery.with_rows(clustered(1, 8), ["z"])


@pytest.mark.parametrize("count", [16, 100, 999])
def test_runs_cover_all_rows_and_can_be_put_back_in_order(count):
    layout = runs(count, 1)
    assert layout.main + layout.tail == count
    assert layout.tail < layout.depth
    rows = np.arange(2 * layout.main).reshape(-1, 2)
    lines = interleaved(rows, layout)
    # The first line holds the first row of each run.
    np.testing.assert_array_equal(lines[: layout.blocks, 0] // 2, np.arange(layout.blocks) * layout.depth)
    np.testing.assert_array_equal(in_order(lines, layout), rows)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("precision", ["binary", "asymmetric"])
def test_codes_are_handed_over_with_our_neighbours(suffix, precision, tmp_path, capsys):
    rows = clustered(200, 64)
    names = [f"größe {row} \udcff.jpg" for row in range(200)]
    path = tmp_path / f"codes{suffix}"
    build_search(rows, names, path, k=3, precision=precision)
    codes = pack_codes(rows)
    distances, _ = hamming_neighbours(codes[:4], codes, 5)
    for tool, module in (("faiss", "faiss"), ("usearch", "usearch"), ("parquet", "pyarrow.parquet")):
        try:
            library = importlib.import_module(module)
        except ImportError:
            continue
        out = tmp_path / f"g.{tool}"
        assert main(["handover", f"--retriever={path}", f"--to={tool}", f"--out={out}"]) == 0
        assert "200 rows of 64 bits" in capsys.readouterr().out
        if tool == "faiss":
            found, places = library.read_index_binary(str(out)).search(codes[:4], 5)
            np.testing.assert_array_equal(found, distances)
        elif tool == "usearch":
            matches = library.index.Index.restore(str(out)).search(codes[:4], 5, exact=True)
            np.testing.assert_array_equal(matches.distances, distances)
            places = matches.keys
        else:
            table = library.read_table(out)
            stored = np.frombuffer(b"".join(table["code"].to_pylist()), np.uint8).reshape(200, 8)
            np.testing.assert_array_equal(stored, codes)
            assert set(table["bits"].to_pylist()) == {64}
            assert table["id"][7].as_py() == "größe 7 \\udcff.jpg"
            continue
        bits = np.unpackbits(codes[np.asarray(places, int)] ^ codes[:4, None], axis=2).sum(axis=2)
        np.testing.assert_array_equal(bits, distances)


def test_milvus_gets_codes_as_binary_vectors(monkeypatch):
    calls = []

    class Client:
        def __getattr__(self, name):
            return lambda *arguments, **options: calls.append((name, arguments, options)) or answers.get(name)

    answers = {"get_collection_stats": {"row_count": 9}, "has_collection": False}
    monkeypatch.setattr(milvus, "_create", lambda client, name, gallery, index: None)
    rows = clustered(9, 16)
    gallery = build_gallery(rows, [str(row) for row in range(9)], "binary")
    milvus.to_milvus(Client(), gallery, "codes")
    (inserted,) = [arguments[1] for name, arguments, _ in calls if name == "insert"]
    assert [entry["code"] for entry in inserted] == [code.tobytes() for code in pack_codes(rows)]
    answers["search"] = [[{"distance": 4.0, "row": 2}, {"distance": 8.0, "row": 0}]]
    scores, found = milvus.search_milvus(Client(), "codes", pack_codes(rows[:1]), 2)
    np.testing.assert_allclose(scores, [[0.5, 0.0]])
    np.testing.assert_array_equal(found, [[2, 0]])
    assert calls[-1][1][1] == [pack_codes(rows[:1])[0].tobytes()]
    assert calls[-1][2]["anns_field"] == "code"


def test_codes_that_are_too_long_for_a_byte_are_refused_by_tflite_alone(tmp_path):
    rows = clustered(5, 256)
    ids = [str(row) for row in range(5)]
    with pytest.raises(ArgumentError, match="at most 248 bits, these have 256"):
        build_search(rows, ids, tmp_path / "codes.tflite", k=2, precision="binary")
    build_search(rows, ids, tmp_path / "codes.onnx", k=2, precision="binary")
    assert Retriever(tmp_path / "codes.onnx").search_embedding(rows[3])[0].row == 3


def test_rows_that_make_no_whole_bytes_are_refused(tmp_path):
    with pytest.raises(KdistillError, match="multiple of 8"):
        build_search(clustered(5, 12), list("abcde"), tmp_path / "codes.onnx", k=2, precision="binary")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_retriever_that_embeddings_search_stays_one_when_it_is_changed(tmp_path, suffix):
    rows = clustered(60, 32)
    ids = [str(row) for row in range(60)]
    path, fresh = tmp_path / f"changed{suffix}", tmp_path / f"fresh{suffix}"
    build_search(rows[:50], ids[:50], path, k=3, precision="asymmetric")
    update_retriever(path, path, remove=["4"], embeddings=rows[50:], ids=ids[50:])
    left = [row for row in range(60) if row != 4]
    build_search(rows[left], [ids[row] for row in left], fresh, k=3, precision="asymmetric")
    for query in clustered(3, 32, seed=1):
        assert Retriever(path).search_embedding(query) == Retriever(fresh).search_embedding(query)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("count", [9, 701])
def test_a_retriever_of_codes_is_changed_without_its_rows(tmp_path, suffix, count):
    rows = clustered(count + 1, 32)
    ids = [str(row) for row in range(count + 1)]
    path = tmp_path / f"retriever{suffix}"
    build_search(rows[:count], ids[:count], path, k=3, precision="binary")
    update_retriever(path, path, remove=["1", "4"], embeddings=rows[count:], ids=ids[count:])
    left = [row for row in range(count + 1) if row not in (1, 4)]
    retriever = Retriever(path)
    for query in clustered(3, 32, seed=1):
        matches = retriever.search_embedding(query)
        assert [match.id for match in matches] == [ids[left[row]] for row in expected(query, rows[left], 3)[0]]
