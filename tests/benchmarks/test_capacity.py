"""The capacity benchmark's short form runs, gives every figure, and repeats nothing."""

import json

import pytest

from benchmarks.compression.capacity import figures_of, markdown


def _run(method, seed, value, **more):
    return {"method": method, "seed": seed, "judged_on": "test", "map": value, "merge_error": 0.0, **more}


def test_figures_by_formula():
    small, large = {"flops": 30, "params": 50}, {"flops": 100, "params": 100}
    runs = [_run("shrunk", seed, value, **small) for seed, value in enumerate((0.5, 0.6, 0.7))]
    runs += [_run("large", seed, value, **large) for seed, value in enumerate((0.6, 0.6, 0.6))]
    runs.append({**_run("shrunk", 100, 0.9, **small), "judged_on": "validation"})
    figures = figures_of(runs, seeds=3)
    assert figures["map_shrunk"] == pytest.approx(0.6)
    assert figures["std_shrunk"] == pytest.approx(0.1)
    assert figures["gain_large"] == pytest.approx(0.0)
    assert figures["gain_std_large"] == pytest.approx(0.1)
    assert figures["share_flops"] == 0.3
    assert figures["share_params"] == 0.5
    assert "| shrunk | 0.0 M | 0.00 M | 60.0 ± 10.0 | – |" in markdown(figures, runs)


@pytest.mark.long
def test_the_smoke_form_writes_figures_and_table(fresh_module, tmp_path):
    output, table = tmp_path / "capacity.json", tmp_path / "capacity.md"
    fresh_module("benchmarks.compression.capacity", "--smoke", f"--json={output}", f"--table={table}")
    figures = json.loads(output.read_text())["figures"]
    assert figures["share_flops"] <= 0.348
    assert figures["max_merge_error"] < 1e-4
    assert figures["latency_ratio"] > 0
    assert {"map_shrunk", "map_large", "gain_large"} <= set(figures)
    assert table.read_text().count("\n") == 4
