"""The benchmarks of comparing teachers run, resume, and subtract the right runs."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.teachers.comparing_results import figures_of


def test_figures_are_points_and_gains_are_by_seed():
    figures = figures_of({"vectors": [0.40, 0.38], "ranker": [0.41, 0.41]}, "vectors")
    assert figures["map_vectors"] == pytest.approx(39.0)
    assert figures["std_vectors"] == pytest.approx(2**0.5)
    assert figures["gain_ranker"] == pytest.approx(2.0)
    assert figures["gain_std_ranker"] == pytest.approx(2**0.5)
    assert "gain_vectors" not in figures


def smoke(fresh_module: Callable[..., str], name: str, arms: list[str], folder: Path) -> tuple[dict, list[dict]]:
    """Returns the result of a smoke run of these arms, and the lines of its CSV file."""
    options = ["--smoke", "--seeds=1", f"--arms={','.join(arms)}", f"--csv={folder / 'runs.csv'}"]
    fresh_module(f"benchmarks.teachers.{name}", *options, f"--json={folder / 'result.json'}")
    with open(folder / "runs.csv", newline="") as opened:
        return json.loads((folder / "result.json").read_text()), list(csv.DictReader(opened))


@pytest.mark.long
def test_a_smoke_run_of_orders(fresh_module, tmp_path):
    result, rows = smoke(fresh_module, "orders", ["vectors", "ranker", "direct"], tmp_path)
    assert [(row["arm"], row["judged_on"]) for row in rows] == [
        ("vectors", "test"),
        ("ranker", "test"),
        ("direct", "test"),
    ]
    for row in rows:
        assert result["maps"][row["arm"]] == [pytest.approx(float(row["map"]), abs=1e-6)]
        assert 0 < float(row["map"]) <= 1


@pytest.mark.long
def test_a_smoke_run_of_pairs_resumes(fresh_module, tmp_path):
    first, (line,) = smoke(fresh_module, "pairs", ["all"], tmp_path)
    whole, rows = smoke(fresh_module, "pairs", ["all", "rr_diff"], tmp_path)
    assert rows[0] == line
    assert [row["arm"] for row in rows] == ["all", "rr_diff"]
    assert whole["maps"]["all"] == [pytest.approx(first["maps"]["all"][0], abs=1e-6)]
    # Of 15 pairs of 6 candidates, 6 queries: all, and 40 %.
    assert (whole["answers"]["all"]["answers"], whole["answers"]["rr_diff"]["answers"]) == (90, 36)
