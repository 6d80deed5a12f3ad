"""The latency benchmark measures each kind of file and reports what the file's own card says of it."""

import json
import subprocess
import sys

import numpy as np
import pytest

from export.gate.bundle import export_student
from export.measure.latency import markdown_table, measure, summarise
from kdistill.errors import KdistillError


@pytest.mark.long
def test_a_run_is_measured_with_the_quality_of_each_file(student, pixels, labels, embeddings, tmp_path):
    ids = [str(row) for row in range(len(embeddings))]
    rows = export_student(
        student,
        tmp_path,
        images_pixels=pixels,
        judge=labels,
        gallery_embeddings=embeddings,
        gallery_ids=ids,
        card={},
        precisions=("float32",),
    )
    student.save(tmp_path / "student.keras")
    command = ["--num_runs=3", "--warmup_runs=1", "--rounds=1", "--num_threads=1"]
    outputs = [f"--run={tmp_path}", f"--json={tmp_path / 'l.json'}", f"--picture={tmp_path / 'l.png'}"]
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks.latency", *outputs, *command], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    result = json.loads((tmp_path / "l.json").read_text())
    measured = {row["name"]: row for row in result["rows"]}
    assert set(measured) == {"student.keras", "student.onnx", "student.tflite", "retriever.tflite", "retriever.onnx"}
    for check in rows:
        assert measured[check["name"]]["map"] == check["map"]
        assert measured[check["name"]]["bytes"] == check["bytes"]
    assert measured["student.keras"]["map"] is None  # not in the card: it is what the others are checked against
    assert all(0 < row["latency_ms_median"] <= row["latency_ms_p90"] <= row["latency_ms_p99"] for row in result["rows"])
    assert measured["student.tflite"]["peak_memory_mib"] < measured["student.keras"]["peak_memory_mib"]
    files = ("student_keras", "student_onnx", "student_tflite", "retriever_tflite", "retriever_onnx")
    assert set(result["figures"]) == {f"{name}_ms" for name in files}
    assert (tmp_path / "l.png").stat().st_size > 1000


def test_percentiles_are_taken_over_all_rounds(tmp_path):
    path = tmp_path / "m.tflite"
    path.write_bytes(b"12345")
    rounds = [
        {"ms": [1.0, 2.0], "peak_memory_mib": 5.0, "memory_before_mib": 1.0},
        {"ms": [3.0, 10.0, 4.0], "peak_memory_mib": 4.0, "memory_before_mib": 2.0},
    ]
    row = summarise(path, 2, rounds)
    assert row["latency_ms_median"] == 3.0
    assert row["latency_ms_p90"] == pytest.approx(np.percentile([1, 2, 3, 4, 10], 90))
    assert (row["bytes"], row["peak_memory_mib"], row["memory_before_mib"]) == (5, 5.0, 2.0)
    assert "| m.tflite | 3.00 |" in markdown_table([row])


def test_files_that_cannot_be_measured_are_named(tmp_path, pixels):
    with pytest.raises(KdistillError, match=r"none\.tflite"):
        measure(tmp_path / "none.tflite", pixels)
    (tmp_path / "rubbish.tflite").write_bytes(b"rubbish")
    with pytest.raises(KdistillError, match=r"rubbish\.tflite"):
        measure(tmp_path / "rubbish.tflite", pixels)
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks.latency", f"--run={tmp_path}"], capture_output=True, text=True, check=False
    )
    assert run.returncode == 1
    assert "card.json" in run.stderr
    assert "Traceback" not in run.stderr
