"""The search benchmarks run as their documentation says, on galleries that take no time."""

import json
import subprocess
import sys

import numpy as np
import pytest

from benchmarks.search.__main__ import figures_of, recall
from benchmarks.search.grown_gallery import clusters, grow
from benchmarks.search.whole_search import base_embeddings
from kdistill.errors import ArgumentError


def run(*command: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, check=False)


def test_figures_are_the_fastest_peer_over_ours():
    result = {
        "size": 10_000,
        "ms": {"ours_int8": 2.0, "ours_float32": 3.0, "faiss_flat": 9.0, "numpy": 8.0, "faiss_sq8": 5.0},
        "ms_batch_32": {"ours_int8": 10.0, "faiss_flat": 30.0, "faiss_sq8": 20.0, "numpy": 1.0},
        "recall": {"ours_int8": 0.995, "faiss_flat": 1.0, "numpy": 1.0, "faiss_sq8": 0.9},
    }
    assert figures_of(result, 0.99) == {
        "int8_vs_best_exact_10k": 2.5,
        "int8_vs_best_accurate_10k": 4.0,
        "float32_vs_faiss_flat_10k": 3.0,
        "int8_batch32_vs_best_faiss_10k": 2.0,
        "recall_at_10_10k": 0.995,
    }


def test_a_whole_search_grows_its_gallery_from_the_embeddings_beside_the_student(tmp_path, capsys):
    student = tmp_path / "student.tflite"
    made_up = base_embeddings(None, student, dimension=24)
    assert made_up.shape[1] == 24
    assert "gallery.npz" in capsys.readouterr().out
    rows = clusters(np.random.default_rng(0))[:150]
    np.savez(tmp_path / "gallery.npz", embeddings=rows)
    np.testing.assert_array_equal(base_embeddings(None, student, dimension=128), rows)
    np.save(tmp_path / "other.npy", rows[::-1])
    np.testing.assert_array_equal(base_embeddings(tmp_path / "other.npy", student, dimension=128), rows[::-1])
    np.save(tmp_path / "few.npy", rows[:5])
    with pytest.raises(ArgumentError, match=r"few\.npy"):
        base_embeddings(tmp_path / "few.npy", student, dimension=128)


def test_grown_rows_are_unit_vectors_near_the_real_ones():
    base = clusters(np.random.default_rng(1))[:300]
    rows = grow(base, 1000, np.random.default_rng(2))
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1.0, atol=1e-5)
    assert (rows @ base.T).max(axis=1).mean() > 0.85
    assert recall(np.array([[1, 2, 3], [4, 5, 6]]), np.array([[3, 2, 9], [7, 8, 9]])) == pytest.approx(2 / 6)


@pytest.mark.long
def test_the_cost_of_building_is_measured(tmp_path):
    done = run(
        "benchmarks.search.retriever_build", "--rows=3000", "--dimension=16", f"--json={tmp_path / 'build.json'}"
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads((tmp_path / "build.json").read_text())["figures"]
    assert set(figures) == {"build_seconds", "build_peak_gib", "update_seconds", "update_peak_gib", "file_gib"}
    # Two codes, a scale with its zero point and a copy of it, and perhaps a bias: for each row.
    assert 3000 * (32 + 16) <= figures["file_gib"] * 2**30 <= 3000 * (32 + 20) + 20_000
