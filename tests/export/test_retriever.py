"""One file that embeds and searches: its answers are those of plain arithmetic."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from export.formats.flatbuffer import operator_names, read_model
from export.formats.tflite import export_tflite
from export.retriever.build import build_retriever, build_search
from export.retriever.client import MAX_BATCH, Retriever
from export.retriever.gallery import RESIDUAL_STEPS, build_gallery
from export.search.layout import layout
from kdistill.data import UnreadableImage
from kdistill.errors import ArgumentError, KdistillError

K = 5


@pytest.fixture(scope="module")
def student_file(student, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("student") / "student.tflite"
    export_tflite(student, path)
    return path


@pytest.fixture(scope="module")
def ids(embeddings) -> list[str]:
    return [f"shelf/é {row}.jpg" for row in range(len(embeddings))]


@pytest.fixture(scope="module", params=["float32", "float16", "int8"])
def precision(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def retriever_file(precision, student_file, embeddings, ids, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp(precision) / "retriever.tflite"
    build_retriever(student_file, embeddings, ids, path, k=K, precision=precision)
    return path


TOLERANCE = {"float32": 1e-5, "float16": 1e-3, "int8": 1e-4}


def test_search_embedding_is_the_brute_force_order(retriever_file, precision, embeddings):
    queries = np.random.default_rng(0).normal(size=(7, embeddings.shape[1]))
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    scores, rows = Retriever(retriever_file).search_embeddings(queries)
    exact = queries @ embeddings.T
    np.testing.assert_allclose(scores, np.take_along_axis(exact, rows, axis=1), atol=TOLERANCE[precision])
    np.testing.assert_allclose(scores, -np.sort(-exact, axis=1)[:, :K], atol=TOLERANCE[precision])
    assert (np.diff(scores, axis=1) <= 0).all()


def test_search_from_an_image_is_embed_then_search(retriever_file, pixels, embeddings, ids):
    retriever = Retriever(retriever_file)
    np.testing.assert_allclose(retriever.embed(pixels[9]), embeddings[9], atol=1e-5)
    matches = retriever.search(pixels[9])
    assert matches == retriever.search_embedding(retriever.embed(pixels[9]))
    assert [match.id for match in matches] == [ids[match.row] for match in matches]
    assert len(matches) == K
    assert matches[0].score == pytest.approx(1.0, abs=0.02)


def test_the_signatures_share_one_set_of_weights(retriever_file, student_file, precision, embeddings):
    gallery = embeddings.size * {"float32": 4, "float16": 2, "int8": 2}[precision]
    assert retriever_file.stat().st_size < 1.2 * student_file.stat().st_size + gallery + 8000
    assert not operator_names(read_model(retriever_file)) & {"VAR_HANDLE", "READ_VARIABLE", "CALL_ONCE"}


def test_a_keras_student_gives_the_same_answers_as_its_file(student, student_file, embeddings, ids, pixels, tmp_path):
    for name, source in (("keras", student), ("file", student_file)):
        build_retriever(source, embeddings, ids, tmp_path / f"{name}.tflite", k=3)
    assert Retriever(tmp_path / "keras.tflite").search(pixels[4]) == Retriever(tmp_path / "file.tflite").search(
        pixels[4]
    )


def test_the_client_and_the_example_need_no_tensorflow(retriever_file, pixels, ids, tmp_path):
    photo = tmp_path / "photo.png"
    PIL.Image.fromarray(pixels[0]).save(photo)
    client = (
        "import sys; from export.retriever import Retriever;"
        f"print([m.id for m in Retriever({str(retriever_file)!r}).search({str(photo)!r})]);"
        "assert not {'tensorflow', 'keras', 'onnx'} & sys.modules.keys()"
    )
    answer = subprocess.run([sys.executable, "-c", client], capture_output=True, text=True, check=True)
    expected = [match.id for match in Retriever(retriever_file).search(photo)]
    assert answer.stdout.strip() == str(expected)

    script = Path(__file__).parents[2] / "export" / "examples" / "python" / "search.py"
    run = subprocess.run(
        [sys.executable, str(script), str(retriever_file), str(photo)],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env={"PATH": "", "PYTHONIOENCODING": "utf-8"},
    )
    assert [line.split("  ")[1] for line in run.stdout.splitlines()] == expected
    code = [line for line in script.read_text().splitlines() if line and not line.startswith(('"', "#"))]
    assert len(code) <= 45  # both formats, and photos of every kind


def test_a_turned_photo_has_one_embedding_however_it_is_given(retriever_file, pixels, tmp_path):
    photo, exif = tmp_path / "photo.png", PIL.Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise when shown
    PIL.Image.fromarray(np.rot90(pixels[3])).save(photo, exif=exif)
    retriever = Retriever(retriever_file)
    expected = retriever.search(pixels[3])
    with PIL.Image.open(photo) as opened, open(photo, "rb") as file:
        for given in (photo, str(photo), photo.read_bytes(), opened, file):
            assert retriever.search(given) == expected, type(given)
    with pytest.raises(UnreadableImage, match="--max_megapixels"):
        Retriever(retriever_file, max_megapixels=1e-5).search(photo)


def test_k_may_be_the_whole_gallery_and_one(student_file, embeddings, ids, tmp_path):
    for k in (1, len(ids)):
        build_retriever(student_file, embeddings, ids, tmp_path / "r.tflite", k=k)
        matches = Retriever(tmp_path / "r.tflite").search_embedding(embeddings[3])
        assert [match.row for match in matches][:1] == [3]
        assert len({match.row for match in matches}) == k


def test_bad_galleries_are_refused(student_file, embeddings, ids, tmp_path):
    path = tmp_path / "r.tflite"
    broken = embeddings.copy()
    broken[4, 2] = np.nan
    cases = [
        (dict(embeddings=broken), KdistillError, "not finite"),
        (dict(embeddings=embeddings * 2), KdistillError, "norm 2"),
        (
            dict(embeddings=embeddings[:, :8] / np.linalg.norm(embeddings[:, :8], axis=1, keepdims=True)),
            KdistillError,
            "8 dimensions",
        ),
        (dict(embeddings=embeddings[0]), KdistillError, "matrix"),
        (dict(ids=ids[:-1]), KdistillError, "35 ids"),
        (dict(ids=[ids[0], *ids[:-1]]), KdistillError, "more than once"),
        (dict(ids=["", *ids[1:]]), KdistillError, "empty id"),
        (dict(k=37), ArgumentError, "k=37"),
        (dict(k=0), ArgumentError, "k=0"),
        (dict(precision="int3"), ArgumentError, "int3"),
        (dict(path=tmp_path / "r.bin"), ArgumentError, "r.bin"),
    ]
    for change, error, words in cases:
        with pytest.raises(error, match=words):
            build_retriever(**{"student": student_file, "embeddings": embeddings, "ids": ids, "path": path} | change)
    assert not list(tmp_path.iterdir())


def test_foreign_truncated_and_swapped_files_are_refused(retriever_file, student_file, embeddings, ids, tmp_path):
    with pytest.raises(KdistillError, match=r"retriever.json"):
        Retriever(tmp_path / "retriever.tflite")
    sidecar = json.loads(retriever_file.with_suffix(".json").read_text())
    path = tmp_path / "retriever.tflite"
    path.write_bytes(retriever_file.read_bytes()[:-200])
    path.with_suffix(".json").write_text(json.dumps(sidecar))
    with pytest.raises(KdistillError, match="belong together"):
        Retriever(path)
    path.with_suffix(".json").write_text("[1, 2")
    with pytest.raises(KdistillError, match="damaged"):
        Retriever(path)
    path.write_bytes(student_file.read_bytes())
    path.with_suffix(".json").write_text(json.dumps(sidecar))
    with pytest.raises(KdistillError, match="not a retriever"):
        Retriever(path, check_sha256=False)


def test_queries_of_another_shape_are_refused(retriever_file, embeddings):
    retriever = Retriever(retriever_file)
    with pytest.raises(ArgumentError, match="12 dimensions"):
        retriever.search_embedding(embeddings[0, :5])
    with pytest.raises(ArgumentError, match="not finite"):
        retriever.search_embedding(np.full(12, np.inf))
    scores, rows = retriever.search_embeddings(np.empty((0, 12)))
    assert scores.shape == rows.shape == (0, K)


@pytest.mark.parametrize("mode", ["L", "RGBA", "CMYK", "I;16", "P", "1", "LA"])
def test_images_of_any_mode_and_size(mode, retriever_file, tmp_path):
    grey = np.linspace(0, 255, 30 * 41).reshape(30, 41).astype(np.uint8)
    if mode == "I;16":
        image = PIL.Image.fromarray(grey.astype(np.uint16) * 257)
    else:
        image = PIL.Image.fromarray(grey).convert(mode)
    path = tmp_path / ("photo.tif" if mode in ("CMYK", "I;16") else "photo.png")
    image.save(path)
    assert len(Retriever(retriever_file).search(path)) == K


def test_exif_rotation_is_undone_and_rubbish_is_named(retriever_file, pixels, tmp_path):
    turned = PIL.Image.fromarray(np.rot90(pixels[0]))
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 270 degrees to see it upright
    turned.save(tmp_path / "turned.png", exif=exif)
    retriever = Retriever(retriever_file)
    assert retriever.search(tmp_path / "turned.png") == retriever.search(pixels[0])
    (tmp_path / "rubbish.jpg").write_bytes(b"\xff\xd8 not a photo")
    with pytest.raises(KdistillError, match=r"rubbish.jpg"):
        retriever.search(tmp_path / "rubbish.jpg")
    with pytest.raises(KdistillError, match=r"none.jpg"):
        retriever.search(tmp_path / "none.jpg")
    with pytest.raises(KdistillError, match="uint8"):
        retriever.search(pixels[0].astype(float))


def large_gallery(rows: int, dimension: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows in tight clusters, so that near neighbours abound, and queries near some of them."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(rows // 20 + 1, dimension))
    gallery = centres[rng.integers(0, len(centres), rows)] + 0.15 * rng.normal(size=(rows, dimension))
    queries = gallery[rng.integers(0, rows, 20)] + 0.1 * rng.normal(size=(20, dimension))
    return tuple((x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32) for x in (gallery, queries))


@pytest.mark.parametrize("precision", ["float32", "int8"])
@pytest.mark.parametrize("rows", [997, 4096])  # with and without rows that fill up the last block
def test_blockwise_search_finds_what_brute_force_finds(precision, rows, student_file, tmp_path):
    assert layout(rows, 20 if precision == "int8" else 10).depths
    gallery, queries = large_gallery(rows, 12, seed=rows)
    path = tmp_path / "r.tflite"
    build_retriever(student_file, gallery, [str(row) for row in range(rows)], path, k=10, precision=precision)
    scores, found = Retriever(path).search_embeddings(queries)
    exact = queries @ gallery.T
    best = np.argsort(-exact, axis=1)[:, :10]
    shared = [len(set(ours) & set(true)) / 10 for ours, true in zip(found, best, strict=True)]
    assert np.mean(shared) == 1.0 if precision == "float32" else np.mean(shared) > 0.99
    np.testing.assert_allclose(scores, np.take_along_axis(exact, found, axis=1), atol=2e-4)


@pytest.mark.parametrize("precision", ["float32", "float16", "int8"])
@pytest.mark.parametrize("rows", [40, 997])  # all rows looked at, and block by block
def test_a_batch_has_the_answers_of_its_queries(precision, rows, tmp_path):
    gallery, _ = large_gallery(rows, 12, seed=3)
    queries = np.random.default_rng(4).normal(size=(2 * MAX_BATCH + 3, 12)).astype(np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    build_search(gallery, range(rows), tmp_path / "r.tflite", k=10, precision=precision)
    retriever = Retriever(tmp_path / "r.tflite")
    scores, found = retriever.search_embeddings(queries)
    assert scores.shape == found.shape == (len(queries), 10)
    for index in range(0, len(queries), 9):
        one_scores, one = retriever.search_embeddings(queries[index : index + 1])
        np.testing.assert_array_equal(found[index], one[0])
        np.testing.assert_allclose(scores[index], one_scores[0], atol=1e-5)


def test_files_of_older_versions_answer_one_query_at_a_time(tmp_path):
    gallery, queries = large_gallery(997, 12, seed=3)
    path = tmp_path / "r.tflite"
    build_search(gallery, range(997), path, k=10)
    expected = Retriever(path).search_embeddings(queries)
    sidecar = json.loads(path.with_suffix(".json").read_text())
    del sidecar["batches"]
    path.with_suffix(".json").write_text(json.dumps(sidecar))
    ours = Retriever(path).search_embeddings(queries)
    np.testing.assert_array_equal(ours[1], expected[1])


def test_rows_that_only_fill_up_a_block_are_never_found(student_file, tmp_path):
    gallery, _ = large_gallery(997, 12, seed=1)
    gallery = np.abs(gallery)  # every cosine with the query below is negative, below the score 0 of an empty row
    path = tmp_path / "r.tflite"
    build_retriever(student_file, gallery, [str(row) for row in range(997)], path, k=10, precision="int8")
    matches = Retriever(path).search_embedding(np.full(12, -(12**-0.5)))
    exact = gallery @ np.full(12, -(12**-0.5))
    np.testing.assert_allclose([match.score for match in matches], np.sort(exact)[::-1][:10], atol=2e-4)


def test_one_row_and_equal_rows_can_be_stored(student_file, tmp_path):
    row = np.full((1, 12), 12**-0.5, np.float32)
    for count in (1, 40):
        path = tmp_path / "r.tflite"
        build_retriever(student_file, row.repeat(count, 0), [str(n) for n in range(count)], path, k=1, precision="int8")
        assert Retriever(path).search_embedding(row[0])[0].score == pytest.approx(1.0, abs=1e-5)


def test_the_residual_code_keeps_fifteen_bits():
    gallery, _ = large_gallery(50, 24, seed=2)
    stored = build_gallery(gallery, range(50), "int8")
    step = np.abs(gallery - gallery.mean(axis=0)).max(axis=1, keepdims=True) / 127 / RESIDUAL_STEPS
    assert (np.abs(stored.rows() - gallery) <= 0.51 * step + 1e-7).all()


@pytest.mark.parametrize("suffix", [".tflite", ".onnx"])
def test_what_is_no_embedding_or_no_number_of_threads_is_refused(suffix, tmp_path):
    rows = np.eye(8, dtype=np.float32)
    path = tmp_path / f"r{suffix}"
    build_search(rows, range(8), path, k=2)
    retriever = Retriever(path)
    for query in ("abc", [[1], [1, 2]], np.zeros(8, complex), [None] * 8, [object()] * 8, np.array(["a"] * 8), {}):
        with pytest.raises(ArgumentError, match=r"an embedding is an array of numbers|queries are|not finite"):
            retriever.search_embedding(query)
        with pytest.raises(ArgumentError, match=r"an embedding is an array of numbers|queries are|not finite"):
            retriever.search_embeddings([query])
    assert retriever.search_embedding([0, 0, 1, 0, 0, 0, 0, 0])[0].id == "2"
    for threads in (0, -1, 1.5, "2", True):
        with pytest.raises(ArgumentError, match="threads of a retriever are a whole number of at least 1"):
            Retriever(path, num_threads=threads)


def test_a_sidecar_of_fewer_names_is_no_pair_even_unchecked(tmp_path):
    build_search(np.eye(8, dtype=np.float32), range(8), tmp_path / "r.onnx", k=2)
    sidecar = tmp_path / "r.onnx.json"
    sidecar.write_text(json.dumps(json.loads(sidecar.read_text()) | {"ids": ["a", "b"]}))
    with pytest.raises(KdistillError, match="do not belong together"):
        Retriever(tmp_path / "r.onnx", check_sha256=False).search_embedding(np.eye(8)[7])
