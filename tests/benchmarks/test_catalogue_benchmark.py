"""The catalogue's benchmark: figures are those of what was measured, and it runs and goes on."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.catalogue.__main__ import figures_of

RATES = {"rate_from_disk": 0.9, "rate_decoding": 0.5}


def _run(seconds, cpu, peaks):
    stages = ("ask", "distill")
    run = {
        name: {"seconds": time, "cpu_seconds": spent, "peak_gib": peak}
        for name, time, spent, peak in zip(stages, seconds, cpu, peaks, strict=True)
    }
    run["distill"] |= {"first_step_s": 12.0, "photos_gb": 0.5}
    return run


def test_figures_are_of_the_largest_catalogue_and_its_growth():
    runs = {1000: _run((2, 6), (1, 5), (1.0, 1.5)), 10_000: _run((10, 30), (10, 40), (1.25, 1.75))}
    found = figures_of(runs, RATES, {"parquet_ratio": 1.1})
    assert found["photos"] == 10_000
    assert (found["peak_gib"], found["memory_growth_mib"]) == (1.75, 256)
    assert (found["seconds"], found["ask_share"], found["distill_share"]) == (40, 0.25, 0.75)
    assert found["worst_exponent"] == pytest.approx(1)  # ten times the time of `ask`; `distill` takes eight
    assert (found["first_step_s"], found["photos_gb"]) == (12, 0.5)
    assert (found["rate_from_disk"], found["rate_decoding"], found["parquet_ratio"]) == (0.9, 0.5, 1.1)


def test_one_catalogue_has_no_growth():
    found = figures_of({1000: _run((2, 6), (1, 5), (1.0, 1.5))}, RATES, {"parquet_ratio": 1.1})
    assert not {"memory_growth_mib", "worst_exponent"} & found.keys()


@pytest.mark.long
def test_the_smoke_form_runs(tmp_path):
    out = tmp_path / "result.json"
    command = [sys.executable, "-m", "benchmarks.catalogue", "--smoke", f"--json={out}"]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    figures = json.loads(out.read_text())["figures"]
    assert figures["photos"] == 240
    assert figures["photos_gb"] > 0  # some photos were kept on the disk
    assert all(figures[name] > 0 for name in ("peak_gib", "first_step_s", "rate_from_disk", "rate_decoding"))
