"""The notebook runs from top to bottom, and says what the page around it promises."""

import json
import os
import re
import subprocess
import sys
from typing import Any

import pytest
from shown_blocks import REPOSITORY

NOTEBOOK = REPOSITORY / "docs" / "start.ipynb"
EXECUTED = REPOSITORY / "build" / "start.ipynb"
"""Where `make docs` looks for the executed notebook, so that CI executes it once."""


def _shown(cells: list[dict[str, Any]]) -> str:
    """Returns all text that the cells of code gave."""
    outputs = [output for cell in cells if cell["cell_type"] == "code" for output in cell["outputs"]]
    data = [output.get("data", {}) for output in outputs]
    texts = [output.get("text", []) for output in outputs] + [one.get("text/markdown", []) for one in data]
    return "\n".join("".join(text) for text in texts)


def test_the_repository_keeps_no_outputs():
    for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]:
        assert not cell.get("outputs")
        assert not cell.get("execution_count")
        assert not cell["metadata"]


@pytest.mark.long
def test_all_cells_run():
    program = REPOSITORY / "docs" / "hooks" / "execute.py"
    done = subprocess.run(
        [sys.executable, str(program), str(NOTEBOOK), str(EXECUTED)],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    cells = json.loads(EXECUTED.read_text(encoding="utf-8"))["cells"]
    said = _shown(cells)
    # Asked twice, paid once.
    assert "100 questions spent, (100, 9) answers" in said
    maps = {name: float(value) for name, value in re.findall(r"^\| ([^|]+) \| (\d\.\d+)", said, re.MULTILINE)}
    assert maps["the same network before"] < maps["**student**"] < maps["teacher"]
    assert said.count("  a 8") >= 3  # of the five found for an 8 that the gallery does not hold
    pictures = [output for cell in cells for output in cell.get("outputs", []) if "image/png" in output.get("data", {})]
    assert len(pictures) == 3
