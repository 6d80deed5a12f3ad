"""Several files answer as one."""

import numpy as np
import pytest

from export.formats.tflite import export_tflite
from export.retriever import Retriever, shards
from export.retriever.build import build_search
from export.retriever.gallery import joined
from export.retriever.shards import (
    ShardedRetriever,
    build_files,
    build_shards,
    bytes_per_row,
    choose_precision,
    shards_of,
)
from export.retriever.update import read_retriever
from kdistill import students
from kdistill.errors import ArgumentError, KdistillError


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_shards_give_the_answer_of_one_file(precision, student, pixels, embeddings, tmp_path):
    rows = np.random.default_rng(4).normal(size=(700, 12)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    rows[650:686] = embeddings
    ids = [f"image {row}" for row in range(700)]
    export_tflite(student, tmp_path / "student.tflite")
    files = build_shards(
        tmp_path / "student.tflite", rows, ids, tmp_path / "r.tflite", rows_per_shard=250, k=6, precision=precision
    )
    assert [file.name for file in files] == ["r-0.tflite", "r-1.tflite", "r-2.tflite"]
    build_search(rows, ids, tmp_path / "whole.tflite", k=6, precision=precision)
    sharded, whole = ShardedRetriever(files), Retriever(tmp_path / "whole.tflite")
    for query in rows[::70]:
        ours, theirs = sharded.search_embedding(query), whole.search_embedding(query)
        assert [match.id for match in ours] == [match.id for match in theirs]
        np.testing.assert_allclose([m.score for m in ours], [m.score for m in theirs], atol=1e-4)
    assert sharded.search(pixels[5])[0].id == "image 655"


def test_wrong_shards_are_refused(tmp_path):
    rows = np.eye(12, dtype=np.float32)
    with pytest.raises(ArgumentError, match="k=10"):
        build_shards("s.tflite", rows, range(12), tmp_path / "r.tflite", rows_per_shard=5)
    with pytest.raises(KdistillError, match="more than once"):
        build_shards("s.tflite", rows, ["a"] * 12, tmp_path / "r.tflite", rows_per_shard=6, k=2)
    build_search(rows, range(12), tmp_path / "a.tflite", k=2)
    build_search(rows, range(12), tmp_path / "b.tflite", k=3)
    with pytest.raises(KdistillError, match="same dimension and k"):
        ShardedRetriever([tmp_path / "a.tflite", tmp_path / "b.tflite"])
    with pytest.raises(KdistillError, match="same dimension and k"):
        ShardedRetriever([])


def test_shards_are_as_many_as_the_bytes_ask_for(student, monkeypatch, tmp_path):
    rows = np.random.default_rng(4).normal(size=(60, 12)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    names = [str(row) for row in range(60)]
    export_tflite(student, tmp_path / "student.tflite")
    monkeypatch.setattr(shards, "SHARD_BYTES", 60 * bytes_per_row(12, "float32", ".tflite") // 3)
    path = tmp_path / "r.tflite"
    files = build_files(tmp_path / "student.tflite", rows, names, path, k=4)
    assert files == shards_of(path) == [tmp_path / f"r-{number}.tflite" for number in range(3)]
    whole = joined([read_retriever(file)[1] for file in files])
    assert whole.ids == tuple(names)
    np.testing.assert_array_equal(whole.rows(), rows)
    # One file again: the shards of before are gone, sidecars too.
    assert build_files(tmp_path / "student.tflite", rows, names, path, k=4, shards=1) == shards_of(path) == [path]
    assert {file.name for file in tmp_path.iterdir()} == {"student.tflite", "r.tflite", "r.json"}


@pytest.mark.parametrize(("rows", "precision"), [(49_999, "float32"), (50_000, "int8")])
def test_the_precision_follows_the_gallery_and_the_student(rows, precision, student):
    assert choose_precision(student, rows) == precision
    coded = students.build("small_cnn", image_size=16, embedding_dim=8, hash_bits=16)
    assert choose_precision(coded, rows) == "asymmetric"


def test_a_file_that_only_looks_like_a_shard_is_left_alone(student, embeddings, tmp_path):
    rows, ids = embeddings[:12], [f"image {row}" for row in range(12)]
    build_search(rows, ids, tmp_path / "r-2024.tflite", k=2)
    for number in (0, 1):
        build_search(rows, ids, tmp_path / f"r-{number}.tflite", k=2)
    build_files(student, rows, ids, tmp_path / "r.tflite", k=2)
    left = {"r-2024.json", "r-2024.tflite", "r.json", "r.tflite"}
    assert {file.name for file in tmp_path.iterdir()} == left
