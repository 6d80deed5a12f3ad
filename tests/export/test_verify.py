"""The gate passes good files, takes the name from bad ones, and the bundle writes them all."""

import json
import os

import numpy as np
import pytest

from export.formats.flatbuffer import read_model, write_model
from export.formats.tflite import export_tflite
from export.gate.bundle import export_student
from export.gate.card import update_card, write_card
from export.gate.verify import Limits, verify_files
from export.retriever import Retriever
from kdistill.errors import ArgumentError, KdistillError
from kdistill.evaluation import evaluate_leave_one_out

pytestmark = pytest.mark.long


def spoil(path) -> None:
    """Scales half of the largest constant's bytes away: a file that loads and is wrong."""
    model = read_model(path)
    largest = max(model.buffers, key=lambda buffer: 0 if buffer.data is None else np.size(buffer.data))
    values = np.array(largest.data, np.uint8).view(np.float32).copy()
    values[::2] *= -3
    largest.data = values
    write_model(model, path)


def test_a_good_file_passes_with_its_own_figures(student, pixels, labels, embeddings, tmp_path):
    path = tmp_path / "student.tflite"
    export_tflite(student, path)
    (check,) = verify_files(student, [path], pixels, labels)
    assert check.passed
    assert check.reason == ""
    assert check.cosine_min > 0.9999
    assert check.map == pytest.approx(evaluate_leave_one_out(embeddings, labels).map, abs=1e-3)
    assert check.overlap_at_10 > 0.98
    assert check.bytes == path.stat().st_size
    assert path.exists()


def test_a_wrong_file_loses_its_name(student, pixels, labels, tmp_path, caplog):
    path = tmp_path / "student.tflite"
    export_tflite(student, path)
    spoil(path)
    (check,) = verify_files(student, [path], pixels, labels, limits=Limits(min_cosine=0.99))
    assert not check.passed
    assert "cosine" in check.reason
    assert not path.exists()
    assert (tmp_path / "student.tflite.failed").exists()
    assert "student.tflite" in caplog.text


def test_map_limits_are_those_of_the_files_precision(student, pixels, labels, embeddings, tmp_path):
    path = tmp_path / "student.tflite"
    export_tflite(student, path)
    spoil(path)
    strict = Limits(max_map_drop={"float32": -100.0})
    (check,) = verify_files(student, [path], pixels, labels, limits=strict)
    assert not check.passed
    assert "mAP" in check.reason


def test_a_student_with_constant_embeddings_cannot_be_verified(student, pixels, labels, tmp_path):
    with pytest.raises(KdistillError, match="same embedding"):
        verify_files(student, [], np.zeros_like(pixels), labels)
    with pytest.raises(ArgumentError, match="at least 2"):
        verify_files(student, [], pixels[:1], labels[:1])


def test_the_bundle_writes_checks_and_describes_every_file(student, pixels, labels, embeddings, tmp_path):
    ids = [f"image {row}" for row in range(len(embeddings))]
    rows = export_student(
        student,
        tmp_path,
        images_pixels=pixels,
        judge=labels,
        gallery_embeddings=embeddings,
        gallery_ids=ids,
        k=4,
        card={"teacher": "table", "queries": 36},
        calibration=pixels,
        precisions=("float32", "float16", "dynamic_int8", "int8"),
    )
    names = {
        "student.onnx",
        "student.tflite",
        "student_float16.tflite",
        "student_dynamic_int8.tflite",
        "student_int8.tflite",
        "retriever.tflite",
        "retriever.onnx",
    }
    assert {row["name"] for row in rows} == names
    assert all(row["passed"] for row in rows), [row["reason"] for row in rows]
    assert {entry.name for entry in tmp_path.iterdir()} == names | {
        "retriever.json",
        "retriever.onnx.json",
        "card.json",
    }
    for name in ("retriever.tflite", "retriever.onnx"):
        assert Retriever(tmp_path / name).search(pixels[5])[0].id == "image 5"
    card = json.loads((tmp_path / "card.json").read_text())
    assert (card["teacher"], card["queries"], card["output"]["dimension"]) == ("table", 36, 12)
    assert {entry["name"] for entry in card["files"]} == names
    assert all(len(entry["sha256"]) == 64 for entry in card["files"])


def test_the_card_refuses_what_json_cannot_hold(student, tmp_path):
    with pytest.raises(ArgumentError, match="files"):
        write_card(tmp_path / "card.json", student, [], {"files": 1})
    with pytest.raises(ArgumentError, match="JSON"):
        write_card(tmp_path / "card.json", student, [], {"map": float("nan")})


def test_a_card_holds_names_that_are_no_text(student, tmp_path):
    name = os.fsdecode(b"gr\xc3\xb6\xc3\x9fe \xff.npz")
    write_card(tmp_path / "card.json", student, [], {"teacher": name})
    assert json.loads((tmp_path / "card.json").read_text(encoding="utf-8"))["teacher"] == name
    update_card(tmp_path / "card.json", [], sample={"gallery": 3})
    card = json.loads((tmp_path / "card.json").read_text(encoding="utf-8"))
    assert (card["teacher"], card["sample"], card["files"]) == (name, {"gallery": 3}, [])


@pytest.mark.parametrize("limits", [{"max_map_drop": {"int8": float("nan")}}, {"min_cosine": float("nan")}])
def test_limits_that_are_no_numbers_are_refused(limits):
    with pytest.raises(ArgumentError, match="nan"):
        Limits(**limits)
