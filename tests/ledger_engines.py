"""The engine that a ledger is kept in: a file, or a real PostgreSQL server that lives as long as the tests."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

NewLedger = Callable[[], str]
"""A function that returns the location of another ledger that does not exist yet."""


@pytest.fixture(scope="session")
def postgres() -> Iterator[sa.URL]:
    """The address of a server that lives as long as the tests."""
    from benchmarks.cluster.postgres_server import find_binaries, postgres_server

    binaries = find_binaries()
    assert binaries is not None, "PostgreSQL is not installed (apt-get install postgresql)"
    with postgres_server(binaries, durable=False) as url:
        yield url


@pytest.fixture
def new_schema(postgres: sa.URL) -> NewLedger:
    """A function that returns the address of another, empty schema."""
    from benchmarks.cluster.postgres_server import fresh_schema

    return lambda: fresh_schema(postgres)


@pytest.fixture
def new_ledger(request: pytest.FixtureRequest, tmp_path: Path) -> NewLedger:
    """In the engine that --ledger_engine names."""
    if request.config.getoption("ledger_engine") == "postgres":
        return request.getfixturevalue("new_schema")
    numbers = itertools.count()
    return lambda: str(tmp_path / f"ledger{next(numbers)}.sqlite")
