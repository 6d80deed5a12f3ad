"""The benchmarks of comparing teachers run, resume, and subtract the right runs."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.comparing import figures_of

REPOSITORY = Path(__file__).parents[2]


def test_figures_are_points_and_gains_are_by_seed():
    figures = figures_of({"vectors": [0.40, 0.38], "ranker": [0.41, 0.41]}, "vectors")
    assert figures["map_vectors"] == pytest.approx(39.0)
    assert figures["std_vectors"] == pytest.approx(2**0.5)
    assert figures["gain_ranker"] == pytest.approx(2.0)
    assert figures["gain_std_ranker"] == pytest.approx(2**0.5)
    assert "gain_vectors" not in figures


@pytest.mark.parametrize(
    ("name", "arms", "control"),
    [
        ("order_teachers", ["vectors", "ranker", "direct"], "vectors"),
        ("pair_teachers", ["all", "rr_diff"], "all"),
    ],
)
def test_a_smoke_run_resumes(name, arms, control, tmp_path):
    file = tmp_path / "runs.csv"

    def run(some: list[str]) -> dict:
        options = ["--smoke", "--seeds=1", f"--arms={','.join(some)}", f"--csv={file}"]
        command = [sys.executable, "-m", f"benchmarks.{name}", *options, f"--json={tmp_path / 'result.json'}"]
        finished = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
        assert finished.returncode == 0, finished.stderr
        return json.loads((tmp_path / "result.json").read_text())

    first = run(arms[:1])
    with open(file, newline="") as opened:
        (line,) = csv.DictReader(opened)
    assert (line["arm"], line["seed"], line["judged_on"]) == (control, "0", "test")
    whole = run(arms)
    assert whole["maps"][control] == first["maps"][control]
    assert set(whole["maps"]) == set(arms)
    with open(file, newline="") as opened:
        rows = list(csv.DictReader(opened))
    assert rows[0] == line
    assert [row["arm"] for row in rows] == arms
    assert all(0 <= float(row["map"]) <= 1 for row in rows)
