"""What the exceptions of a naive function mean for its questions: functions raise what their HTTP library raises.

Libraries are not imported: an exception is known by the attributes that urllib, requests, httpx, aiohttp, botocore and
the SDKs of services give to theirs.
"""

import contextlib
import http.client
import socket
import ssl
import time
import urllib.error
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from absl import logging

from kdistill.errors import KdistillError
from kdistill.teachers.services.transport.client import RETRIES, wait_after
from kdistill.teachers.services.transport.faults import MAX_BODY, shown, told
from kdistill.teachers.services.transport.statuses import Verdict, verdict
from kdistill.teachers.services.transport.waits import backoff
from kdistill.teachers.teacher import NoAnswer, NotAsked

Answer = TypeVar("Answer")

_NOT_REACHED = (ConnectionRefusedError, socket.gaierror, ssl.SSLCertVerificationError)
_NOT_REACHED_NAMES = (
    *("ConnectTimeout", "ConnectError", "PoolTimeout"),  # httpx, requests
    *(
        "ConnectTimeoutError",
        "NewConnectionError",
        "NameResolutionError",
        "EndpointConnectionError",
    ),  # urllib3, botocore
    "ClientConnectorError",  # aiohttp
)
_LOST_NAMES = (
    *("Timeout", "ConnectionError", "ChunkedEncodingError", "TransportError"),  # requests, httpx
    *("ReadTimeoutError", "ProtocolError", "ConnectionClosedError"),  # urllib3, botocore
    *("ClientConnectionError", "APIConnectionError"),  # aiohttp, SDKs
)
_MAX_CAUSES = 8


def called(
    name: str, function: Callable[..., Answer], *arguments: Any, sleep: Callable[[float], None] = time.sleep
) -> Answer:
    """Returns function(*arguments), called again after 429, 503 and the like with the HTTP client's waits.

    Args:
        name: of the teacher, for messages.
        function: what may raise.
        arguments: its own.
        sleep: waits so many seconds (tests pass their own).

    Raises:
        NotAsked, NoAnswer: where an exception stands for a status of HTTP, for a connection that never came about
            (not asked) or for one that gave no answer in time.
        Exception: any other, as it is.
    """
    for attempt in range(RETRIES + 1):
        try:
            return function(*arguments)
        except KdistillError:
            raise
        except Exception as error:
            status = status_of(error)
            if status is not None:
                fault = f"the teacher {name} answered {_said(error, status)}"
                judged = verdict(status)
                if judged is Verdict.LOST:
                    raise NoAnswer(fault) from error
                if judged is Verdict.ANSWER:
                    raise
                if judged is Verdict.REFUSED:
                    raise NotAsked(fault) from error
                wait = wait_after(status, _headers(error), attempt, fault)
                what = f"the teacher asks to wait {wait:.0f} s ({status})"
            elif _never_reached(error):
                fault = f"the teacher {name} cannot be reached: {text_of(error)}"
                wait = backoff(attempt)
                what = f"{fault}; asking again in {wait:.0f} s"
            elif _lost(error):
                raise NoAnswer(f"the teacher {name} did not answer: {text_of(error)}") from error
            else:
                raise
            if attempt == RETRIES:
                raise NotAsked(f"{fault}, also after {RETRIES} retries") from error
        logging.info("%s", what)
        sleep(wait)
    raise AssertionError("the last attempt returns or raises")


def status_of(error: BaseException) -> int | None:
    """Returns the HTTP status that an exception, or what it was raised from, stands for; None for no such thing."""
    for one in _causes(error):
        for holder in (getattr(one, "response", None), one):
            for attribute in ("status_code", "code", "status"):
                number = _status(getattr(holder, attribute, None))
                if number is not None:
                    return number
            if isinstance(holder, Mapping):  # botocore
                number = _status(_entry(holder, "ResponseMetadata", "HTTPStatusCode"))
                if number is not None:
                    return number
    return None


def _status(value: object) -> int | None:
    # An enumeration of statuses is an int as well.
    return int(value) if isinstance(value, int) and not isinstance(value, bool) and 100 <= value <= 599 else None


def _never_reached(error: BaseException) -> bool:
    return any(
        isinstance(one, _NOT_REACHED) or any(kind.__name__ in _NOT_REACHED_NAMES for kind in type(one).__mro__)
        for one in _causes(error)
    )


def _lost(error: BaseException) -> bool:
    """Says whether an exception means that an answer did not come although the question may have arrived."""
    kinds = (TimeoutError, ConnectionError, http.client.HTTPException, urllib.error.URLError, ssl.SSLError)
    return any(
        isinstance(one, kinds) or any(kind.__name__ in _LOST_NAMES for kind in type(one).__mro__)
        for one in _causes(error)
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yields an exception and those that it was made from: not `__context__`, which may be about another request."""
    open_ones, seen = [error], 0
    while open_ones and seen < _MAX_CAUSES:
        one = open_ones.pop(0)
        seen += 1
        yield one
        nested = (one.__cause__, getattr(one, "reason", None), *one.args)
        open_ones += [inner for inner in nested if isinstance(inner, BaseException)]


def _headers(error: BaseException) -> Mapping[str, str]:
    for one in _causes(error):
        for holder in (getattr(one, "response", None), one):
            headers = getattr(holder, "headers", None)
            if headers is None and isinstance(holder, Mapping):
                headers = _entry(holder, "ResponseMetadata", "HTTPHeaders")
            if hasattr(headers, "items"):
                return {str(name): str(value) for name, value in headers.items()}  # type: ignore[union-attr]
    return {}


def _said(error: BaseException, status: int) -> str:
    """Returns "429 Too Many Requests: what the service says"."""
    phrase = http.client.responses.get(status, "")
    for one in _causes(error):
        with contextlib.suppress(Exception):  # a body may be read already, or come from anything
            content = one.read(MAX_BODY) if isinstance(one, urllib.error.HTTPError) else one.response.content  # type: ignore[attr-defined]
            if isinstance(content, bytes) and content:
                return told(status, phrase, content, ())
    return told(status, phrase, text_of(error).encode("utf-8", "replace"), ())


def text_of(error: BaseException) -> str:
    """Returns "Type: what it says" without what looks like a key; the type alone where it says nothing, or fails to."""
    said = ""
    with contextlib.suppress(Exception):
        said = str(error)
    return f"{type(error).__name__}: {shown(said, ())}" if said else type(error).__name__


def _entry(mapping: Any, *names: str) -> Any:
    for name in names:
        mapping = mapping.get(name) if isinstance(mapping, Mapping) else None
    return mapping
