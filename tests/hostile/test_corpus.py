"""Every case of the hostile corpus is refused with a sentence, runs no code, and takes neither memory nor time."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.long

HERE = Path(__file__).parent
MODULES = (
    ("image_cases", "list_cases", "pickle_cases", "table_cases", "ledger_cases", "record_cases", "http_cases"),
    ("function_cases", "model_cases"),
    ("export_cases",),
)
"""Those of a line share a process, which loads TensorFlow once; what it keeps of all its cases counts as memory."""

LEAST_CASES = 230
MAX_MIB, MAX_SECONDS = 1024, 10  # of the whole process, TensorFlow included, and of its processor time


@pytest.fixture(scope="module")
def results() -> list[dict[str, object]]:
    return [result for modules in MODULES for result in run(modules)]


def run(modules: tuple[str, ...]) -> list[dict[str, object]]:
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(HERE.parents[1])}
    command = [sys.executable, str(HERE / "runner.py"), *modules]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=900)
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    begun = [line["begins"] for line in lines if "begins" in line]
    finished = [line for line in lines if "name" in line]
    # A crash of native code would end the process in the middle of a case.
    assert [line["name"] for line in finished] == begun, (begun[-1:], done.stderr[-1000:])
    assert done.returncode == 0, done.stderr[-1000:]
    return finished


def test_the_corpus_is_large(results):
    assert len({result["name"] for result in results}) >= LEAST_CASES


def test_every_case_is_refused_with_a_sentence(results):
    for result in results:
        lines = result["said"].splitlines()
        assert result["status"] in (1, 2), result
        assert lines[-1].startswith("error: "), result
        assert sum(line.startswith("error: ") for line in lines) == 1, result
        assert "Traceback" not in result["said"], result


def test_no_case_runs_code(results):
    assert [result["name"] for result in results if result["ran"]] == []


def test_no_case_takes_a_gibibyte_or_ten_seconds(results):
    assert [result for result in results if result["peak_mib"] >= MAX_MIB] == []
    assert [result for result in results if result["seconds"] >= MAX_SECONDS] == []
