"""The search benchmarks run as their documentation says, on galleries that take no time."""

import json
import subprocess
import sys

import numpy as np
import pytest

from benchmarks.recall_gate.__main__ import figures_of as gate_figures
from benchmarks.recall_gate.__main__ import known
from benchmarks.search.__main__ import figures_of
from benchmarks.search.grown_gallery import clusters, grow
from benchmarks.search.kinds import KINDS, make
from benchmarks.search.peers import Peer
from benchmarks.search.race import exact_rows, recall
from benchmarks.search.table import table
from benchmarks.search.whole_search import base_embeddings
from kdistill.errors import ArgumentError, KdistillError


def run(*command: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, check=False)


def searched(recall: float, size: float, single: float, batch: float) -> dict:
    ms = {number: {"1": single, "32": batch} for number in ("1", "2")}
    return {"recall": recall, "bytes_a_row": size, "ms": ms, "build_seconds": 0.0, "setting": None}


def test_figures_are_the_fastest_peer_over_ours():
    searches = {
        "ours_int8": searched(0.995, 280, 2, 10),
        "ours_float32": searched(1, 514, 1, 1),
        "slim": searched(0.99, 280, 5, 30),
        "large": searched(1, 281, 3, 4),
        "inaccurate": searched(0.98, 100, 1, 1),
    }
    searches["slim"]["ms"]["2"]["1"] = 4.0
    result = {"searches": searches, "absent": {"gone": "not installed"}, "date": "2026-01-01", "versions": {"a": "1"}}
    worse = {**searches, "ours_int8": searched(0.9, 290, 2, 10)}
    expected = {
        "recall_outside_10k": 0.995,
        "bytes_a_row_10k": 280,
        "int8_vs_fastest_10k": 2.0,
        "int8_vs_any_10k": 1.5,
        "int8_batch32_vs_fastest_10k": 3.0,
    }
    assert figures_of({"students/10000": result}, 0.99) == expected
    two = {"students/10000": result, "clusters/10000": {**result, "searches": worse}}
    lost = {"int8_vs_fastest_10k": 0, "int8_vs_any_10k": 0, "int8_batch32_vs_fastest_10k": 0}
    assert figures_of(two, 0.99) == {"recall_outside_10k": 0.9, "bytes_a_row_10k": 290, **lost}
    lines = table({"students/10000": result}, 0.99).splitlines()
    order = [line.split("|")[1].strip() for line in lines if line.startswith("| ")][1:]
    assert order == ["ours_float32", "ours_int8", "large", "slim", "inaccurate (not ranked)"]
    assert "gone: not installed." in lines


def test_a_peer_takes_the_first_setting_that_reaches_the_recall():
    chosen = []
    peer = Peer("p", lambda queries: queries, 1.0, ladder=(1, 2, 4, 8), choose=chosen.append)
    assert peer.climb(lambda search: chosen[-1] / 8, 0.5) == 0.5
    assert (chosen, peer.setting) == ([1, 2, 4], 4)
    assert peer.climb(lambda search: 0.1, 0.5) == 0.1
    assert peer.setting == 8


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_are_unit_vectors_and_queries_are_no_rows(kind):
    rows, queries = make(kind, 500, 0, dimension=32)
    again = make(kind, 500, 0, dimension=32)
    np.testing.assert_array_equal(rows, again[0])
    assert rows.shape == (500, 32)
    for points in (rows, queries):
        np.testing.assert_allclose(np.linalg.norm(points, axis=1), 1, atol=1e-5)
    assert (queries @ rows.T).max() < 1 - 1e-6
    np.testing.assert_array_equal(exact_rows(rows, queries, 3), np.argsort(-(queries @ rows.T), axis=1)[:, :3])


def test_the_gate_keeps_what_is_done_and_refuses_other_settings(tmp_path):
    results = {"uniform/10000/0": {"recall": 0.99}, "uniform/1000000/0": {"recall": 0.98}}
    figures = {"recall_gate_worst": 0.98, "recall_outside_10k": 0.99, "recall_outside_1m": 0.98}
    assert gate_figures(results) == figures | {"recall_gate_mean": pytest.approx(0.985)}
    path, settings = tmp_path / "gate.json", {"students": "made up", "queries": 200}
    assert known(path, settings) == {}
    path.write_text(json.dumps({"results": results, **settings}))
    assert known(path, settings) == results
    with pytest.raises(KdistillError, match="another file"):
        known(path, settings | {"queries": 100})
    path.write_text("{}")
    with pytest.raises(KdistillError, match=r"gate\.json"):
        known(path, settings)


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
def test_the_smoke_form_of_the_gate_finds_what_is_promised(tmp_path):
    done = run("benchmarks.recall_gate", "--smoke", "--kinds", "low_rank", f"--json={tmp_path / 'gate.json'}")
    assert done.returncode == 0, done.stderr
    content = json.loads((tmp_path / "gate.json").read_text())
    assert set(content["results"]) == {"low_rank/2000/0", "low_rank/70000/0"}
    assert content["figures"]["recall_gate_worst"] >= 0.985


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
