"""The page on accelerators names every operator that an exported file holds."""

import re
from pathlib import Path

import numpy as np
import pytest

from export.formats.flatbuffer import operator_names, read_model
from export.formats.tflite import PRECISIONS, convert_student
from export.retriever.build import build_search
from export.retriever.gallery import PRECISIONS as STORED

PAGE = (Path(__file__).parents[2] / "docs" / "accelerators.md").read_text(encoding="utf-8")


def named() -> set[str]:
    """The operators of the table's first column."""
    rows = re.findall(r"^\| ([A-Z][A-Z0-9_, ]+) \|", PAGE, re.MULTILINE)
    return {name for row in rows for name in row.split(", ")}


@pytest.mark.parametrize("precision", PRECISIONS)
def test_operators_of_a_student_stand_in_the_table(precision, student, pixels):
    assert operator_names(convert_student(student, precision=precision, calibration=pixels)) <= named()


@pytest.mark.parametrize("precision", STORED)
def test_operators_of_a_search_stand_in_the_table(precision, tmp_path):
    rows = np.random.default_rng(0).normal(size=(300, 16)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    if precision in ("binary", "asymmetric"):
        rows = (np.where(rows > 0, 1, -1) / 4).astype(np.float32)
    build_search(rows, [str(row) for row in range(300)], tmp_path / "s.tflite", k=5, precision=precision)
    found = operator_names(read_model(tmp_path / "s.tflite"))
    assert "TOPK_V2" in found
    assert found <= named()
