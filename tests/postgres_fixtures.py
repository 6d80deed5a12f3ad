"""A real PostgreSQL server for the tests that need one, where it is installed."""

import pytest


@pytest.fixture(scope="session")
def postgres():
    """The address (sqlalchemy URL) of a server that lives as long as the tests."""
    pytest.importorskip("psycopg", reason="psycopg is not installed (pip install 'kdistill[postgres]')")
    from benchmarks.cluster.postgres_server import find_binaries, postgres_server

    binaries = find_binaries()
    if binaries is None:
        pytest.skip("PostgreSQL is not installed (apt-get install postgresql)")
    with postgres_server(binaries, durable=False) as url:
        yield url


@pytest.fixture
def new_schema(postgres):
    """A function that returns the address of another, empty schema."""
    from benchmarks.cluster.postgres_server import fresh_schema

    return lambda: fresh_schema(postgres)
