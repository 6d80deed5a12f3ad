"""The benchmarks of this package run and give figures; nothing is said about time."""

import json

import pytest

pytestmark = pytest.mark.long


@pytest.mark.parametrize(
    ("name", "figures"),
    [
        ("evaluation", {"speedup_1m", "peak_extra_mib", "max_abs_error", "linearity"}),
        ("evaluation.embedding", {"rate_ratio", "rate_ratio_student"}),
    ],
)
def test_smoke(fresh_module, name, figures, tmp_path):
    result = tmp_path / "result.json"
    fresh_module(f"benchmarks.{name}", "--smoke", f"--json={result}")
    content = json.loads(result.read_text())
    assert set(content["figures"]) == figures
    if name == "evaluation":
        assert content["figures"]["max_abs_error"] < 1e-6
