"""The step benchmark's short form runs and gives every figure; how fast is not tested."""

import json
import math

import pytest

pytestmark = pytest.mark.long


def test_the_smoke_form_writes_every_figure(fresh_module, tmp_path):
    output = tmp_path / "step_time.json"
    fresh_module("benchmarks.training.step_time", "--smoke", f"--json={output}")
    figures = json.loads(output.read_text())["figures"]
    assert set(figures) == {
        "step_ratio",
        *(f"{figure}_{rows}" for figure in ("loss_ms", "peak_mib") for rows in (16, 64)),
        "matrices_64",
    }
    assert all(math.isfinite(value) and value >= 0 for value in figures.values())
