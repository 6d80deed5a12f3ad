"""Quiet TensorFlow and a fixed number of threads, before anything imports it; in which engine ledgers are kept."""

import gc
import os

import pytest

from kdistill.console.frameworks import prepare_frameworks

# As the commands do, whose students some tests compare to the last bit.
prepare_frameworks()
# Processes that share the machine (pytest-xdist) take a core each.
_THREADS = "1" if "PYTEST_XDIST_WORKER" in os.environ else "2"
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", _THREADS)
os.environ.setdefault("TF_NUM_INTEROP_THREADS", _THREADS)

# TensorFlow leaves hundreds of thousands of objects; looking through them again and again takes a tenth of the suite.
gc.set_threshold(100_000, 50, 50)

pytest_plugins = ["fresh_process", "ledger_engines"]


LONGEST_FIRST = (
    "training/test_distributed.py",
    "training/test_fit.py",
    "faults/test_signals.py",
    "stages/test_interrupted.py",
    "training/test_keras_arguments.py",
    "stages/test_main.py",
    "export/test_student_kinds.py",
    "export/test_commands.py",
    "docs/test_start_page.py",
    "compression/test_merge.py",
    "faults/test_surroundings.py",
    "teachers/test_crash.py",
)
"""Files that take minutes: begun last, one would keep a process busy while the other has nothing left to do."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Brings the longest files to the front; `make` has xdist keep that order."""
    places = {name: place for place, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: places.get("/".join(item.path.parts[-2:]), len(places)))


def pytest_collection_finish() -> None:
    """What collecting made stays until the end, so the collector need not look at it."""
    gc.collect()
    gc.freeze()


def pytest_addoption(parser: pytest.Parser) -> None:
    help_text = "where tests of the ledger keep it; postgres starts a server, which `make test-cluster` installs"
    parser.addoption("--ledger_engine", choices=["sqlite", "postgres"], default="sqlite", help=help_text)
