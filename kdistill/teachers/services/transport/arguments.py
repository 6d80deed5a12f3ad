"""Addresses, headers, timeouts and retries that cannot be right are told of before anything is sent."""

import math
import re
import urllib.parse

from kdistill.errors import ArgumentError

MAX_TIMEOUT, MAX_RETRIES = 86_400.0, 1000

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def check_patience(timeout: float, retries: int) -> None:
    """Raises ArgumentError unless the timeout is a time and the retries are a number of times."""
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not math.isfinite(timeout):
        raise ArgumentError(f"the teacher's timeout is {timeout!r}; it must be a number of seconds")
    if not 0 < timeout <= MAX_TIMEOUT:
        raise ArgumentError(f"the teacher's timeout is {timeout:g} seconds; it must be above 0 and at most a day")
    if isinstance(retries, bool) or not isinstance(retries, int) or not 0 <= retries <= MAX_RETRIES:
        raise ArgumentError(f"the teacher's retries are {retries!r}; they must be a whole number, 0 to {MAX_RETRIES}")


def address_parts(url: str) -> urllib.parse.SplitResult:
    """Returns the parts of an address, with what may not stand in one as escapes.

    Raises:
        ArgumentError: an address that nobody can be asked at, or one that holds credentials.
    """
    try:
        parts = urllib.parse.urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ArgumentError(f"the teacher's address cannot be right: {error}") from error
    if parts.scheme not in ("http", "https"):
        raise ArgumentError("the teacher's address must begin with http:// or https://")
    if not parts.hostname:
        raise ArgumentError(f"the teacher's address {_bare(parts)!r} names no host")
    if port == 0:
        raise ArgumentError(f"the teacher's address {_bare(parts)!r} names port 0, which no service has")
    if parts.username is not None:
        raise ArgumentError("the teacher's address holds a user name; pass credentials by a header instead")
    if any(char.isspace() or not char.isprintable() for char in url):
        raise ArgumentError(f"the teacher's address {_bare(parts)!r} holds a space or a control character")
    kept = "%/:=&?~+!$,;'@()*[]|"
    return parts._replace(
        path=urllib.parse.quote(parts.path, safe=kept), query=urllib.parse.quote(parts.query, safe=kept)
    )


def _bare(parts: urllib.parse.SplitResult) -> str:
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def header_value(name: str, value: str) -> str:
    """Returns a header's value as it is sent; a key without its scheme gets the usual one.

    Raises:
        ArgumentError: a name or value that no header can have.
    """
    if not _TOKEN.fullmatch(name):
        raise ArgumentError(f"{name!r} cannot be the name of a header")
    value = value.strip()
    if not value or not value.isprintable() or not value.isascii():
        # The value itself is a secret and stays out of the sentence.
        raise ArgumentError(f"the value of the header {name} is empty, not one line, or has letters that are not ASCII")
    bare = name.lower() in ("authorization", "proxy-authorization") and " " not in value
    return f"Bearer {value}" if bare else value
