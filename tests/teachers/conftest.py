"""Every engine that a ledger can be kept in: tests that take `new_ledger` run once in each that is available."""

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

NewLedger = Callable[[], str]
"""A function that returns the location of another ledger that does not exist yet."""


@pytest.fixture(params=["sqlite", "postgres"])
def new_ledger(request, tmp_path: Path) -> NewLedger:
    if request.param == "sqlite":
        numbers = itertools.count()
        return lambda: str(tmp_path / f"ledger{next(numbers)}.sqlite")
    return request.getfixturevalue("new_schema")
