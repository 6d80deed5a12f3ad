"""Where a ledger is: a file, or the address of a PostgreSQL database."""

from pathlib import Path

from kdistill.errors import KdistillError
from kdistill.teachers.ledger.addresses import address_text, is_address, parse_address
from kdistill.teachers.ledger.database import Database
from kdistill.teachers.ledger.sqlite import SqliteDatabase


def open_database(location: str | Path, *, create: bool, read_only: bool = False) -> Database:
    """Opens the file or connects to the address; with `create`, makes the tables where they are missing.

    Without `read_only`, tables of an earlier format are brought up to date.

    Raises:
        ArgumentError: an address that cannot be right.
        KdistillError: missing (without `create`), not writable, not a ledger, or psycopg is not installed.
    """
    if not is_address(location):
        return SqliteDatabase(Path(location), create=create, read_only=read_only)
    url = parse_address(str(location))
    try:
        from kdistill.teachers.ledger.postgres import PostgresDatabase
    except ImportError as error:
        raise KdistillError(
            f"the ledger {address_text(url)} needs psycopg (pip install 'kdistill[postgres]'): {error}"
        ) from error
    return PostgresDatabase(url, create=create, read_only=read_only)
