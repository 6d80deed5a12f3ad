"""The benchmark of binary codes runs and gives its figures; nothing is said about time."""

import json

import pytest

pytestmark = pytest.mark.long


def test_smoke(fresh_module, tmp_path):
    result = tmp_path / "result.json"
    fresh_module("benchmarks.hashing", "--smoke", f"--json={result}")
    content = json.loads(result.read_text())
    lengths = {"16", "32", "64", "128"}
    assert set(content["maps"]) == {"float32", *lengths, *(f"{bits}_asymmetric" for bits in lengths)}
    assert content["figures"]["share_float32"] == 1
    assert 0 < content["figures"]["map_64"] <= 1
    assert {"speedup_binary_retriever.tflite", "speedup_asymmetric_retriever.onnx"} <= set(content["figures"])
