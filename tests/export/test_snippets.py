"""The Kotlin and Swift snippets of the docs name what stands in the file, with its types and sizes."""

import re
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from export.retriever.build import build_retriever

PAGE = (Path(__file__).parents[2] / "docs" / "deployment.md").read_text(encoding="utf-8")
K = 10


def snippet(language: str) -> str:
    (code,) = re.findall(rf"```{language}\n(.*?)```", PAGE, re.S)
    return code


@pytest.fixture(scope="module")
def runner(student, embeddings, tmp_path_factory):
    path = tmp_path_factory.mktemp("snippets") / "retriever.tflite"
    build_retriever(student, embeddings, range(len(embeddings)), path, k=K)
    interpreter = Interpreter(str(path))
    assert interpreter.get_signature_list()["search"] == {"inputs": ["image"], "outputs": ["ids", "scores"]}
    return interpreter.get_signature_runner("search")


@pytest.mark.parametrize("language", ["kotlin", "swift"])
def test_names_are_those_of_the_signature(language, runner):
    names = set(re.findall(r'"(\w+)"', snippet(language)))
    assert names == {"search"} | runner.get_input_details().keys() | runner.get_output_details().keys()


def test_types_and_sizes_are_those_of_the_tensors(runner, pixels):
    size = pixels.shape[1]
    image = runner.get_input_details()["image"]
    assert (image["dtype"], image["shape"].tolist()) == (np.uint8, [1, size, size, 3])
    assert "S * S * 3" in snippet("kotlin")
    assert "S * S * 3" in snippet("swift")
    types = {"scores": ("FloatArray", "Float32", np.float32), "ids": ("IntArray", "Int32", np.int32)}
    for name, (kotlin, swift, dtype) in types.items():
        output = runner.get_output_details()[name]
        assert (output["dtype"], output["shape"].tolist()) == (dtype, [K])
        assert f"val {name} = {kotlin}({K})" in snippet("kotlin")
        assert re.search(rf'output\(named: "{name}"\).*{swift}\.self', snippet("swift"))
