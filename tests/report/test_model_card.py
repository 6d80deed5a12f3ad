"""The model card: front matter that model hubs read, Markdown that shows what comes from outside, code that runs."""

import html
import re
import subprocess
import sys
from typing import Any

import markdown
import numpy as np
import onnx
import PIL.Image
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from kdistill.report.model_card import markdown_text, render_model_card
from kdistill.report.snippets import packages, snippet

FIGURES: dict[str, Any] = {
    "dataset": "my photos: a | b",
    "gallery": 1200,
    "searches": 100,
    "files_sample": {"images": 900, "queries": 100, "gallery": 800, "whole_gallery": 1200, "seed": 0},
    "rows": [
        {"name": "teacher", "map": 0.8, "queries": None},
        {"name": "student", "map": 0.71234567, "recall_at_1": 0.9, "queries": 330, "parameters": 5000},
        {"name": "untouched", "map": 0.5, "queries": 0},
    ],
    "files": [
        {"name": "student.keras", "bytes": 9000, "map": 0.7, "latency_ms_median": 3.0},
        {"name": "student.onnx", "bytes": 8000, "map": 0.7, "latency_ms_median": 2.0, "passed": True, "sha256": "ab12"},
        {
            "name": "student_int8.tflite",
            "bytes": 2000,
            "map": 0.1,
            "passed": False,
            "reason": "60 points",
            "sha256": "c",
        },
    ],
}
CARD = {"input": {"size": 8}, "output": {"dimension": 6}}
FACTS = {"asked": {"teacher": "t_eacher", "questions": 330, "price": None}, "data": {}, "network": {"loss": "rkd"}}
HOSTILE = "---\n# <script>alert(1)</script> | **x** ` [a](javascript:b) {{ 7 * 7 }}"


def _card(**changes: Any) -> str:
    content: dict[str, Any] = {"name": "run 7", "figures": FIGURES, "card": CARD, "facts": FACTS}
    return render_model_card(**{**content, **changes})


def _parts(text: str) -> tuple[dict[str, Any], str]:
    opening, matter, body = re.split(r"^---$", text, maxsplit=2, flags=re.MULTILINE)
    assert opening == ""
    return yaml.safe_load(matter), body


def test_the_front_matter_holds_what_model_hubs_index():
    matter, _ = _parts(_card())
    assert matter["pipeline_tag"] == "image-feature-extraction"
    assert matter["license"] == "other"
    assert "image-retrieval" in matter["tags"]
    (model,) = matter["model-index"]
    (result,) = model["results"]
    assert model["name"] == "run 7"
    assert result["dataset"] == {"type": "my photos: a | b", "name": "my photos: a | b"}
    assert {metric["type"]: metric["value"] for metric in result["metrics"]} == {"map": 0.7123, "recall_at_1": 0.9}


def test_tables_hold_figures_files_and_checksums():
    _, body = _parts(_card())
    page = markdown.markdown(body, extensions=["tables", "fenced_code"])
    rows = [re.findall(r"<td>(.*?)</td>", row) for row in re.findall(r"<tr>(.*?)</tr>", page, re.DOTALL)]
    cells = {row[0]: row[1:] for row in rows if row}
    assert cells["questions"] == ["330"]
    assert "price" not in cells
    assert cells["<strong>student</strong>"][:3] == ["330", "0.712", "0.900"]
    assert cells["<strong>student.onnx</strong>"][0] == "8 000"
    assert ["student_int8.tflite", "<code>c</code>"] in rows
    assert any("failed: 60 points" in cell for row in rows for cell in row)
    assert "900 images, 100 of them queries, of a gallery of 1,200" in page
    assert "It is <strong>student.onnx</strong>" in page


def test_parts_that_were_not_made_say_so():
    matter, body = _parts(_card(figures={}, card=None, facts={}))
    assert "model-index" not in matter
    assert "No file was exported" in body
    assert "Nothing was measured" in body
    assert "keras.saving.load_model" in body
    failed = {**FIGURES, "files": [{**file, "passed": False} for file in FIGURES["files"]]}
    assert "No file passed the quality gate" in _card(figures=failed)


def test_what_comes_from_outside_is_text():
    figures = {**FIGURES, "dataset": HOSTILE}
    matter, body = _parts(_card(name=HOSTILE, figures=figures, facts={"asked": {"teacher": HOSTILE}}))
    assert matter["model-index"][0]["name"] == HOSTILE
    page = markdown.markdown(body, extensions=["tables"])
    assert "<script" not in page
    assert "href" not in page.partition("<code>")[0]
    assert "{{ 7 * 7 }}" in html.unescape(page)


@given(st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=30))
def test_a_text_in_a_cell_is_shown_as_it_is(text: str):
    page = markdown.markdown(f"| a | b |\n|---|---|\n| x{markdown_text(text)} | y |", extensions=["tables"])
    cells = re.findall(r"<td>(.*?)</td>", page, re.DOTALL)
    assert [html.unescape(cell) for cell in cells] == [f"x{text}", "y"]


@pytest.mark.parametrize("suffix", ["onnx", "tflite"])
def test_the_snippet_compiles_and_names_the_runtime(suffix: str):
    text = snippet(f"student.{suffix}", 8)
    compile(text, "README.md", "exec")
    assert packages(f"student.{suffix}").split()[0].replace("-", "_") in text


def test_the_snippet_runs(tmp_path):
    """On a network that sums each channel: two photos of one colour have the cosine 1, of two colours less."""
    helper = onnx.helper
    image = helper.make_tensor_value_info("image", onnx.TensorProto.UINT8, ["batch", 8, 8, 3])
    embedding = helper.make_tensor_value_info("embedding", onnx.TensorProto.FLOAT, ["batch", 3])
    nodes = [
        helper.make_node("Cast", ["image"], ["floats"], to=onnx.TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["floats"], ["means"], axes=[1, 2], keepdims=0),
        helper.make_node("LpNormalization", ["means"], ["embedding"], axis=1, p=2),
    ]
    graph = helper.make_graph(nodes, "colours", [image], [embedding])
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), tmp_path / "student.onnx"
    )
    for name, colour in (("photo.jpg", (200, 10, 10)), ("other.jpg", (10, 200, 10))):
        PIL.Image.fromarray(np.full((30, 20, 3), colour, np.uint8)).save(tmp_path / name, quality=100)
    block = re.search(r"```python\n(.*?)```", _card(), re.DOTALL)
    assert block is not None
    ended = subprocess.run([sys.executable, "-c", block[1]], cwd=tmp_path, capture_output=True, text=True, check=True)
    one, other = np.array([200, 10, 10]), np.array([10, 200, 10])
    assert float(ended.stdout) == pytest.approx(one @ other / (one @ one), abs=0.01)
