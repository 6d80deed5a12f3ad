"""The benchmark of backbones: a row with a cell for each format, refusals in words, and going on where it stopped."""

import json

import keras
import numpy as np
import pytest

from benchmarks.backbones.__main__ import FORMATS, table
from benchmarks.backbones.counting import multiply_adds
from benchmarks.backbones.networks import SMOKE, Network, student_of
from kdistill.compression import count_flops

PIXELS = np.random.default_rng(0).integers(0, 256, (24, 32, 32, 3), np.uint8)


def test_a_random_network_tells_photos_apart():
    student, weights = student_of(SMOKE[0], 32, None, PIXELS)
    assert weights == "random"
    vectors = student.predict(PIXELS, verbose=0)
    assert (vectors @ vectors.T).min() < 0.99
    assert multiply_adds(student) == count_flops(student)
    with pytest.raises(FileNotFoundError, match=r"some\.keras"):
        student_of(Network("a file", "", file="some.keras"), 32, None, PIXELS)


def test_products_of_matrices_are_counted():
    image = keras.Input((4, 4, 6))
    convolved = keras.layers.Conv2D(8, 3, groups=2, padding="same")(image)
    convolved = keras.layers.DepthwiseConv2D(3, padding="same")(convolved)
    tokens = keras.layers.Reshape((16, 8))(convolved)
    attended = keras.layers.MultiHeadAttention(2, 5)(tokens, tokens)
    model = keras.Model(image, keras.layers.Dense(3)(attended))
    convolutions = 16 * 9 * 3 * 8 + 16 * 9 * 8
    projections = 4 * 16 * 8 * 10
    products = 2 * 2 * 16 * 16 * 5
    assert multiply_adds(model) == convolutions + projections + products + 16 * 8 * 3


def test_refusals_and_failures_stand_under_the_table():
    cell = {"passed": True, "reason": "", "bytes": 2e6, "cosine_mean": 0.99, "map_drop": 0.1, "latency_ratio": 3.0}
    cells = dict.fromkeys(FORMATS, cell)
    cells["TFLite int8"] = {"refused": "it holds an operator that is not there"}
    cells["ONNX int8"] = {**cell, "passed": False, "reason": "its mAP is 20 points below", "map_drop": 20.0}
    row = {"name": "net", "weights": "random", "parameters": 1000, "multiply_adds": 2e6, "cells": cells}
    text = table([row, {"name": "other", "missing": "x.keras was not given with --weights_dir", "cells": {}}])
    assert "| net | random | 1,000 | 2 M | 2.0 MB, 0.9900, x3.00 |" in text
    assert "| refused |" in text
    assert "| fails (20.0 points) |" in text
    assert "- net, TFLite int8: it holds an operator that is not there" in text
    assert "- other: x.keras was not given" in text


@pytest.mark.long
def test_the_smoke_form_passes_in_every_format_and_is_not_done_twice(fresh_module, tmp_path):
    command = ["benchmarks.backbones", "--smoke", f"--json={tmp_path / 'backbones.json'}"]
    fresh_module(*command)
    first = (tmp_path / "backbones.json").read_bytes()
    (row,) = json.loads(first)["rows"]
    assert all(row["cells"][name]["passed"] for name in FORMATS), row
    assert "small_cnn" in (tmp_path / "backbones.md").read_text()
    assert "small_cnn" in fresh_module(*command)
    assert (tmp_path / "backbones.json").read_bytes() == first
