"""Addresses of PostgreSQL databases: their form, and what of them may be shown."""

import os
import re
from pathlib import Path

import sqlalchemy as sa

from kdistill.errors import ArgumentError

SCHEME = "postgresql+psycopg"


_SECRETS = ("password", "sslpassword")  # of an address's query part


def is_address(location: str | Path) -> bool:
    """Says whether a ledger's location is an address rather than a file."""
    # One slash is enough: `Path` makes one of two, and an address must never be taken, and told, for a file's name.
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*:)/(/?)", str(location))
    # A folder may end in a colon, too; no scheme of a database is one.
    return scheme is not None and (scheme[2] == "/" or not os.path.isdir(scheme[1]))


def without_secrets(location: str | Path) -> str:
    """Returns a location as it may be shown and kept: without password. libpq finds one in PGPASSWORD or ~/.pgpass.

    Raises:
        ArgumentError: an address that cannot be right (it is not shown then).
    """
    return address_text(parse_address(str(location))) if is_address(location) else str(location)


def address_text(url: sa.URL) -> str:
    """Returns an address without its secrets."""
    # URL.set keeps what is None, so the password is left out by building anew.
    shown = sa.URL.create(
        url.drivername,
        username=url.username,
        host=url.host,
        port=url.port,
        database=url.database,
        query={name: value for name, value in url.query.items() if name not in _SECRETS},
    )
    return shown.render_as_string(hide_password=False)


def secrets_of(url: sa.URL) -> list[str]:
    """Returns the texts of an address that no message may hold."""
    texts = (url.password, *(url.query.get(name) for name in _SECRETS))
    return [str(text) for text in texts if text]


def parse_address(address: str) -> sa.URL:
    """Returns a PostgreSQL address in its parts.

    Raises:
        ArgumentError: not of the form postgresql+psycopg://USER:PASSWORD@HOST:PORT/DATABASE.
    """
    form = f"a ledger's address should look like {SCHEME}://USER:PASSWORD@HOST:PORT/DATABASE"
    try:
        url = sa.make_url(address)
    except (sa.exc.ArgumentError, ValueError):
        # Neither shown nor chained: what cannot be parsed may hold a password anywhere.
        raise ArgumentError(form) from None
    if url.drivername != SCHEME:
        raise ArgumentError(f"{form}; {url.drivername!r} is no engine that ledgers are kept in")
    return url
