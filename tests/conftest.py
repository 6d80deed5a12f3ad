"""Quiet TensorFlow and a fixed number of threads, before anything imports it; in which engine ledgers are kept."""

import gc
import os

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Processes that share the machine (pytest-xdist) take a core each.
_THREADS = "1" if "PYTEST_XDIST_WORKER" in os.environ else "2"
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", _THREADS)
os.environ.setdefault("TF_NUM_INTEROP_THREADS", _THREADS)

# TensorFlow leaves hundreds of thousands of objects; looking through them again and again takes a tenth of the suite.
gc.set_threshold(100_000, 50, 50)

pytest_plugins = ["fresh_process", "ledger_engines"]


def pytest_collection_finish() -> None:
    """What collecting made stays until the end, so the collector need not look at it."""
    gc.collect()
    gc.freeze()


def pytest_addoption(parser: pytest.Parser) -> None:
    help_text = "where tests of the ledger keep it; postgres starts a server, which `make test-cluster` installs"
    parser.addoption("--ledger_engine", choices=["sqlite", "postgres"], default="sqlite", help=help_text)
