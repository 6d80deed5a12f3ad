"""The example for Node.js finds what Python finds, in the same file."""

import subprocess
from pathlib import Path

import pytest

from export.retriever import Retriever
from export.retriever.shards import build_files

EXAMPLE = Path(__file__).parents[2] / "export" / "examples" / "node"


@pytest.fixture(scope="module")
def retriever(built, tmp_path_factory):
    path = tmp_path_factory.mktemp("node") / "retriever.onnx"
    build_files(built.student, built.embeddings, built.images.ids, path, k=5)
    return path


@pytest.mark.parametrize("photo", ["0_3.png", "4_8.png"])
def test_it_finds_what_python_finds(photo, retriever, built, node):
    assert (EXAMPLE / "node_modules").is_dir(), "the example's packages are missing; `make test-web` installs them"
    command = [node, "search.mjs", str(retriever), str(built.photos / photo)]
    printed = subprocess.run(command, cwd=EXAMPLE, check=True, capture_output=True, text=True).stdout
    found = [line.split("  ", 1) for line in printed.splitlines()]
    expected = Retriever(retriever).search(built.photos / photo)
    assert [name for _, name in found] == [match.id for match in expected]
    assert [float(score) for score, _ in found] == pytest.approx([match.score for match in expected], abs=2e-4)
