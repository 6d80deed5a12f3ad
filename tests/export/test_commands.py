"""`python -m export`: the gate over a run's folder, resizers, retrievers, and galleries as tables."""

import json
import os

import numpy as np
import pyarrow.parquet
import pytest

from export.__main__ import main
from export.formats.flatbuffer import read_model, write_model
from export.gate.resizers import open_resizers, resizer_table
from export.handover.files import to_parquet
from export.retriever import Retriever
from export.retriever.build import build_search
from export.retriever.gallery import build_gallery
from export.retriever.shards import ShardedRetriever, shards_of
from export.retriever.sidecar import sidecar_path
from export.retriever.update import read_retriever
from kdistill.data import Image, ImageSet, resize
from kdistill.errors import ArgumentError
from kdistill.evaluation import evaluate_query_gallery

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    matrix = np.random.default_rng(8).normal(size=(300, 12)).astype(np.float32)
    return matrix / np.linalg.norm(matrix, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def ids(rows) -> list[str]:
    return [f"image {row}" for row in range(len(rows))]


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_parquet_holds_ids_and_vectors(precision, rows, ids, tmp_path):
    to_parquet(build_gallery(rows, ids, precision), tmp_path / "g.parquet")
    table = pyarrow.parquet.read_table(tmp_path / "g.parquet")
    assert table["id"].to_pylist() == ids
    np.testing.assert_allclose(np.stack(table["embedding"].to_numpy()), rows, atol=1e-4)


@pytest.mark.parametrize("suffix", [".tflite", ".onnx"])
def test_rows_are_added_and_removed_by_command(suffix, rows, ids, tmp_path, capsys):
    path = tmp_path / f"r{suffix}"
    build_search(rows[:200], ids[:200], path, k=5)
    np.savez(tmp_path / "new.npz", ids=np.array(ids[200:]), embeddings=rows[200:])
    assert main(["add", f"--retriever={path}", f"--embeddings={tmp_path / 'new.npz'}"]) == 0
    assert Retriever(path).search_embedding(rows[250])[0].id == "image 250"
    assert main(["remove", f"--retriever={path}", "--ids", "image 250"]) == 0
    assert Retriever(path).search_embedding(rows[250])[0].id != "image 250"
    capsys.readouterr()
    assert main(["remove", f"--retriever={path}", "--ids", "image 250"]) == 1
    assert capsys.readouterr().err.startswith("error: id 'image 250' is not in the gallery")
    assert main(["add", f"--retriever={path}", f"--embeddings={path}"]) == 1
    assert "cannot be read" in capsys.readouterr().err


def test_names_as_bytes_and_names_that_are_no_text_are_those_of_the_images(rows, ids, tmp_path):
    path = tmp_path / "r.tflite"
    build_search(rows[:200], ids[:200], path, k=5)
    np.savez(tmp_path / "new.npz", ids=np.array([b"b.jpg", b"caf\xe9.jpg"]), embeddings=rows[200:202])
    assert main(["add", f"--retriever={path}", f"--embeddings={tmp_path / 'new.npz'}"]) == 0
    assert Retriever(path).search_embedding(rows[200])[0].id == "b.jpg"
    assert Retriever(path).search_embedding(rows[201])[0].id == "caf\\xe9.jpg"
    assert main(["remove", f"--retriever={path}", "--ids", os.fsdecode(b"caf\xe9.jpg")]) == 0
    assert "caf\\xe9.jpg" not in Retriever(path).ids
    np.savez(tmp_path / "new.npz", ids=np.array([["a"], ["b"]]), embeddings=rows[200:202])
    assert main(["add", f"--retriever={path}", f"--embeddings={tmp_path / 'new.npz'}"]) == 1


@pytest.mark.parametrize("suffix", [".tflite", ".onnx"])
def test_retrievers_in_a_folder_whose_name_is_no_utf_8(suffix, rows, ids, tmp_path, capsys):
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    path = folder / (os.fsdecode(b"r\xe9") + suffix)
    build_search(rows[:50], ids[:50], path, k=5)
    assert Retriever(path).search_embedding(rows[7])[0].id == "image 7"
    assert main(["remove", f"--retriever={path}", "--ids", "image 7"]) == 0
    assert Retriever(path).search_embedding(rows[7])[0].id != "image 7"
    to_parquet(read_retriever(path)[1], folder / "g.parquet")
    with open(folder / "g.parquet", "rb") as file:
        assert len(pyarrow.parquet.read_table(file)) == 49


@pytest.mark.parametrize("flags", [["--retriever=", "--out=g"], ["--retriever=r.onnx", "--out="]])
def test_names_that_are_none_are_refused(flags, rows, ids, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    build_search(rows[:50], ids[:50], "r.onnx", k=5)
    assert main(["handover", "--to=parquet", *flags]) == 1
    assert "is no name of a" in capsys.readouterr().err


def blocky(size: int) -> ImageSet:
    """24 images of 6 classes; fine stripes, which resizers without antialiasing turn into something else."""
    rng = np.random.default_rng(0)
    images = []
    for number in range(24):
        wave = np.sin(np.arange(size) * (0.5 + 0.45 * (number // 4)))[None, :, None]
        noise = rng.normal(size=(size, size, 3))
        images.append(Image(str(number), array=np.clip(128 + 90 * wave + 20 * noise, 0, 255).astype(np.uint8)))
    return ImageSet(images, np.arange(24) // 4)


def test_resizer_pairs_are_measured_against_their_matching_pair(student):
    def embed(stack: np.ndarray) -> np.ndarray:
        return np.asarray(student.predict(stack, verbose=0))

    table = resizer_table(embed, blocky(100), 16)
    with open_resizers() as known:
        assert len(table) == len(known) ** 2
    values = {(row["gallery"], row["queries"]): row["map"] for row in table}
    for row in table:
        expected = 100 * (values[row["gallery"], row["gallery"]] - row["map"])
        assert row["drop"] == pytest.approx(expected)
        assert row["passed"] == (expected <= 1.0)
    assert values["pillow", "pillow"] != values["pillow", "tf.image"]
    images = blocky(100)
    own = embed(np.stack([resize(image.pixels(), 16) for image in images]))
    halves = np.arange(24) % 2 == 0
    ways = [
        evaluate_query_gallery(own[half], own[~half], images.labels[half], images.labels[~half]).map
        for half in (halves, ~halves)
    ]
    assert values["pillow", "pillow"] == pytest.approx(np.mean(ways))
    with pytest.raises(ArgumentError, match="lanczos7"):
        resizer_table(embed, blocky(20), 16, ["lanczos7"])
    with pytest.raises(ArgumentError, match="labelled"):
        resizer_table(embed, blocky(20).without_labels(), 16)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run on the embedded digits, as short as a run can be."""
    from export.stage import export_run
    from kdistill.settings import Settings
    from kdistill.stages.opening.models import start_student
    from kdistill.stages.opening.sources import data_of
    from kdistill.stages.record import Record
    from kdistill.stages.stage import Result
    from kdistill.stages.workdir import Workdir
    from main import STAGES

    folder = tmp_path_factory.mktemp("run")
    settings = Settings.of(workdir=str(folder), backbone="small_cnn", image_size=16, embedding_dim=8, top_k=3)
    workdir = Workdir(folder)
    start_student(settings.student, 0).save(workdir.student)
    data = data_of(settings)
    vectors = np.random.default_rng(0).normal(size=(len(data.gallery), 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    np.savez(workdir.gallery, ids=np.array(data.gallery.ids), embeddings=vectors)
    export_run(settings, workdir)
    record = Record(folder, STAGES)
    for stage in ("distill", "evaluate", "export"):
        record.finish(STAGES[stage], settings, {}, Result())
    return folder


def test_the_gate_passes_a_run_and_adds_int8_to_it(run, tmp_path, capsys):
    for precision in ("int8", "int8_float_head"):
        assert main(["convert", f"--run={run}", f"--precision={precision}"]) == 0
        assert f"student_{precision}.tflite" in capsys.readouterr().out
    for precision in ("float16", "int8"):
        assert main(["convert", f"--run={run}", f"--precision={precision}", "--format=onnx"]) == 0
        assert f"student_{precision}.onnx" in capsys.readouterr().out
    card = {file["name"] for file in json.loads((run / "card.json").read_text())["files"]}
    assert {"student_int8.tflite", "student_int8.onnx"} <= card
    assert main(["convert", f"--run={run}", "--precision=dynamic_int8", "--format=onnx"]) == 2
    assert "float32, float16, int8" in capsys.readouterr().err
    report = tmp_path / "report.json"
    assert main(["verify", f"--run={run}", f"--json={report}", "--max_map_drop", "int8=100"]) == 0
    names = {file["name"] for file in json.loads(report.read_text())["files"] if file["passed"]}
    assert {"student.tflite", "student.onnx", "student_int8.tflite", "retriever.tflite", "retriever.onnx"} <= names
    assert "student_int8_float_head.tflite" in names


def test_figures_of_files_stand_beside_the_students_on_the_same_images(run, capsys):
    assert main(["verify", f"--run={run}"]) == 0
    printed = capsys.readouterr().out
    card = json.loads((run / "card.json").read_text(encoding="utf-8"))
    assert card["sample"]["seed"] == 0
    assert card["sample"]["images"] <= 3000
    (student_map,) = {file["map_student"] for file in card["files"]}
    for file in card["files"]:
        assert file["map_drop"] == pytest.approx(100 * (student_map - file["map"]))
    assert f"the student's mAP on the same images is {100 * student_map:.2f}" in printed
    assert f"{card['sample']['gallery']:,} of the gallery's {card['sample']['whole_gallery']:,} images" in printed


@pytest.mark.parametrize(
    ("flags", "name", "precision", "k"),
    [
        (["--precision=int8", "--top_k=4"], "retriever.tflite", "int8", 4),
        (["--precision=hamming", "--format=onnx"], "retriever.onnx", "binary", 3),
        (["--precision=asymmetric", "--k=2"], "retriever.tflite", "asymmetric", 2),
        (["--precision=float16", "--shards=3"], "retriever.tflite", "float16", 3),
        ([], "retriever.tflite", "float32", 3),
    ],
)
def test_retrievers_of_every_kind_are_had_by_command(flags, name, precision, k, run, capsys):
    assert main(["retriever", f"--run={run}", *flags]) == 0
    printed = capsys.readouterr().out
    files = shards_of(run / name)
    assert len(files) == (3 if "--shards=3" in flags else 1)
    assert all(str(file) in printed for file in files)
    with np.load(run / "gallery.npz") as stored:
        ids, vectors = stored["ids"].tolist(), stored["embeddings"]
    sidecars = [json.loads(sidecar_path(file).read_text(encoding="utf-8")) for file in files]
    assert [entry for sidecar in sidecars for entry in sidecar["ids"]] == ids
    assert {(sidecar["precision"], sidecar["k"]) for sidecar in sidecars} == {(precision, k)}
    card = {file["name"] for file in json.loads((run / "card.json").read_text())["files"]}
    assert files[0].name in card
    found = ShardedRetriever(files).search_embedding(vectors[5])
    assert len(found) == k
    if precision not in ("binary", "asymmetric"):
        assert found[0].id == ids[5]
    # The gate and the hand-over take what was written.
    assert main(["verify", f"--run={run}"]) == 0
    out = run / "handed.parquet"
    assert main(["handover", f"--retriever={run / name}", "--to=parquet", f"--out={out}"]) == 0
    unit = "bits" if precision in ("binary", "asymmetric") else "dimensions"
    assert f"{len(ids)} rows of 8 {unit}" in capsys.readouterr().out


def test_a_retriever_elsewhere_stands_in_no_card_and_numbers_are_checked(run, tmp_path, capsys):
    before = (run / "card.json").read_bytes()
    assert main(["retriever", f"--run={run}", f"--out={tmp_path / 'mine.tflite'}"]) == 0
    assert "so it stays as it is" in capsys.readouterr().out
    assert (run / "card.json").read_bytes() == before
    for flags in (["--k=0"], ["--k=-1"], ["--k=100000"], ["--shards=0"]):
        assert main(["retriever", f"--run={run}", f"--out={tmp_path / 'none.tflite'}", *flags]) == 2
        assert flags[0].split("=")[1] in capsys.readouterr().err
    assert sorted(file.name for file in tmp_path.iterdir()) == ["mine.json", "mine.tflite"]


def test_a_run_that_may_only_be_read_is_verified_all_the_same(run, monkeypatch, capsys):
    def refuse(*_):
        raise OSError(30, "Read-only file system")

    before = (run / "card.json").read_bytes()
    monkeypatch.setattr("kdistill.files.whole.os.replace", refuse)
    monkeypatch.setattr("pathlib.Path.touch", refuse)
    monkeypatch.setattr("pathlib.Path.replace", refuse)
    assert main(["verify", f"--run={run}"]) == 0
    assert "the card was not updated" in capsys.readouterr().out
    assert main(["verify", f"--run={run}", "--min_cosine=1"]) == 1
    assert (run / "card.json").read_bytes() == before
    assert (run / "student.tflite").exists()


def test_the_gate_stops_a_spoilt_file(run, capsys):
    model = read_model(run / "student.tflite")
    largest = max(model.buffers, key=lambda buffer: 0 if buffer.data is None else np.size(buffer.data))
    largest.data = -np.array(largest.data, np.uint8).view(np.float32)
    write_model(model, run / "student.tflite")
    assert main(["verify", f"--run={run}", "--min_cosine=0.99"]) == 1
    assert "least cosine" in capsys.readouterr().out
    assert (run / "student.tflite.failed").exists()
    assert not (run / "student.tflite").exists()


def test_wrong_arguments_are_named(tmp_path, capsys):
    assert main(["verify", f"--run={tmp_path}", "--max_map_drop", "int3=1"]) == 2
    assert "int3" in capsys.readouterr().err
    assert main(["verify", f"--run={tmp_path}"]) == 1
    assert "student.keras" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["verify", f"--run={tmp_path}", "--max_map_drop", "int8"])
    assert "PRECISION=POINTS" in capsys.readouterr().err
