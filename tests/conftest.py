"""Quiet TensorFlow and a fixed number of threads, before anything imports it; in which engine ledgers are kept."""

import os

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Processes that share the machine (pytest-xdist) take a core each.
_THREADS = "1" if "PYTEST_XDIST_WORKER" in os.environ else "2"
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", _THREADS)
os.environ.setdefault("TF_NUM_INTEROP_THREADS", _THREADS)

pytest_plugins = ["fresh_process", "ledger_engines"]


def pytest_addoption(parser: pytest.Parser) -> None:
    help_text = "where tests of the ledger keep it; postgres starts a server, which `make test-cluster` installs"
    parser.addoption("--ledger_engine", choices=["sqlite", "postgres"], default="sqlite", help=help_text)
