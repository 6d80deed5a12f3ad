"""Model files are opened in one room, and files are replaced in one: whoever does so elsewhere misses its rules."""

import ast
import functools
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

EXEMPT = ("export/examples/python/search.py",)
"""A script to copy, which shows the search without this library."""


@functools.cache
def trees() -> dict[str, ast.Module]:
    """Returns file -> its syntax tree, of the library, `export` and `benchmarks`."""
    files = (file for room in ("kdistill", "export", "benchmarks") for file in (ROOT / room).rglob("*.py"))
    return {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text(encoding="utf-8")) for path in files}


def calls(name: str) -> dict[str, list[int]]:
    """Returns file -> lines in which something of that name is called, in the library, `export` and `benchmarks`."""
    found: dict[str, list[int]] = {}
    for path, tree in trees().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", None)) == name:
                found.setdefault(path, []).append(node.lineno)
    return {file: lines for file, lines in found.items() if not file.startswith(EXEMPT)}


@pytest.mark.parametrize(
    ("name", "homes"),
    [
        ("Interpreter", {"kdistill/runtimes/tflite.py"}),
        ("InferenceSession", {"kdistill/runtimes/onnx.py"}),
        ("load_model", {"kdistill/runtimes/keras_models/keras_files.py"}),
    ],
)
def test_each_runtime_has_one_opener(name, homes):
    assert set(calls(name)) == homes
    assert [len(lines) for lines in calls(name).values()] == [1]


def test_files_are_put_in_place_in_one_file():
    assert {file for file in calls("replace") if "os.replace(" in (ROOT / file).read_text()} == {
        "kdistill/files/whole.py"
    }


def test_the_first_line_of_an_error_is_taken_in_one_file():
    sources = {file for file in calls("splitlines") if "error).strip().splitlines()" in (ROOT / file).read_text()}
    assert sources == {"kdistill/errors.py"}
