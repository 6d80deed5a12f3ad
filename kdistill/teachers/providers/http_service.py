"""A teacher behind HTTP.

The protocol, one POST a batch. Request, `application/json`: {"images": ["base64 of an image file", ...]}.
Answer, one of:

    application/json           {"embeddings": [[number, ...] or null, ...]}, one entry an image, in order; or with
                               "index": [int, ...], the positions of the images that the entries belong to
    application/octet-stream   little-endian float32 [n, Dt], one row an image, in order

Services that compare images instead are asked as `http_comparisons` says.

The standard library's urllib does all that this needs; a session library would be one more dependency for one
request a batch. Redirects are not followed: they would carry the key to another host.
"""

import email.utils
import hashlib
import http.client
import io
import json
import os
import random
import socket
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from absl import logging

from kdistill.data.images import Image
from kdistill.errors import ArgumentError
from kdistill.teachers.providers.http_comparisons import HttpComparisons, base64_of
from kdistill.teachers.teacher import BadAnswer, NoAnswer, NotAsked

MAX_ANSWER_BYTES = 16 << 20
"""A longer answer to one batch is cut off and refused."""

MAX_WAIT = 600.0
"""Seconds; a teacher that asks by Retry-After to wait longer ends the run."""

_FIRST_WAIT, _LONGEST_BACKOFF = 0.5, 30.0
_NOT_SERVED = (429, 500, 503)  # the service says that it did not answer: free of charge, asked again
_LOST_BEHIND_GATEWAY = (502, 504)  # the service may have answered a gateway that lost it
_NOT_REACHED = (ConnectionRefusedError, socket.gaierror, ssl.SSLCertVerificationError)


class HttpTeacher(HttpComparisons):
    """Asks a service for the embeddings of encoded images, for orders of them, or for preferences."""

    view = "encoded"

    def __init__(
        self,
        url: str,
        *,
        headers: Sequence[str] = (),
        timeout: float = 60.0,
        retries: int = 5,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Checks the arguments; asks nothing.

        Args:
            url: http(s) address that takes the POST.
            headers: "Header=VARIABLE"; the environment variable holds the header's whole value.
            timeout: seconds for one request, from connecting to the last byte.
            retries: further attempts after 429, 500, 503 or where no connection came about.
            sleep: waits so many seconds (tests pass their own).

        Raises:
            ArgumentError: a malformed address or header, or a variable that is not set.
        """
        parts = urllib.parse.urlsplit(url)
        if not parts.hostname:
            raise ArgumentError(f"the teacher's address {url!r} names no host")
        if parts.username is not None:
            raise ArgumentError("the teacher's address holds a user name; pass credentials by a header instead")
        # A query may hold a key, so that only its digest is shown; a fragment is never sent.
        query = f"?{hashlib.sha256(parts.query.encode()).hexdigest()[:12]}" if parts.query else ""
        self.name = f"{parts.scheme}://{parts.netloc}{parts.path}{query}"
        self._url = urllib.parse.urlunsplit(parts._replace(fragment=""))
        self._headers = dict(_header(spec) for spec in headers)
        self._timeout, self._retries, self._sleep = timeout, retries, sleep
        self._opener = urllib.request.build_opener(_NoRedirect)
        self._failures = 0

    def embed(self, images: Sequence[Image]) -> np.ndarray:
        """Returns float [n, Dt].

        Raises:
            NotAsked: refused, not reached, or still "not served" after all retries.
            NoAnswer: timed out or cut off on the way back, or fewer entries than images.
            BadAnswer: not what the protocol says.
        """
        return self._ask({"images": [base64_of(image) for image in images]}, len(images), "embeddings")

    def _ask(self, question: dict[str, Any], count: int, key: str, width: int | None = None) -> np.ndarray:
        """Returns float [count, ...], what the answer has under `key`; rows of `width` numbers where it is given."""
        body = json.dumps(question).encode()
        if self._failures:
            self._sleep(_backoff(self._failures - 1))
        self._failures += 1
        kind, answer = self._post(body)
        self._failures = 0
        if kind == "application/octet-stream":
            return _raw(answer, count)
        return _json(answer, count, key, width)

    def _post(self, body: bytes) -> tuple[str, bytes]:
        headers = {"Content-Type": "application/json", "Accept": "application/json, application/octet-stream"}
        request = urllib.request.Request(self._url, body, headers | self._headers, method="POST")
        for attempt in range(self._retries + 1):
            wait = _backoff(attempt)
            try:
                return self._exchange(request)
            except urllib.error.HTTPError as error:
                fault = f"the teacher {self.name} answered {error.code} {error.reason}"
                if error.code in _LOST_BEHIND_GATEWAY:
                    raise NoAnswer(fault) from error
                if error.code not in _NOT_SERVED:
                    raise NotAsked(fault) from error
                wait = _retry_after(error.headers.get("Retry-After"), wait)
                if wait > MAX_WAIT:
                    raise NotAsked(f"{fault} and wants to be left alone for {wait:.0f} seconds") from error
            except urllib.error.URLError as error:
                if not isinstance(error.reason, _NOT_REACHED):
                    raise NoAnswer(f"the teacher {self.name} did not answer: {error.reason}") from error
                fault = f"the teacher {self.name} cannot be reached: {error.reason}"
            except (OSError, http.client.HTTPException) as error:
                reason = str(error) or type(error).__name__
                raise NoAnswer(f"the teacher {self.name} did not answer: {reason}") from error
            if attempt < self._retries:
                logging.info("%s; asking again in %.1f seconds", fault, wait)
                self._sleep(wait)
        raise NotAsked(f"{fault}, also after {self._retries} retries")

    def _exchange(self, request: urllib.request.Request) -> tuple[str, bytes]:
        # The socket's timeout starts anew with every byte; the deadline does not.
        deadline = time.monotonic() + self._timeout
        with self._opener.open(request, timeout=self._timeout) as response:
            answer = io.BytesIO()
            while part := response.read1(1 << 16):
                answer.write(part)
                if answer.tell() > MAX_ANSWER_BYTES:
                    raise BadAnswer(f"the teacher {self.name} answered more than {MAX_ANSWER_BYTES >> 20} MiB")
                if time.monotonic() > deadline:
                    raise TimeoutError(f"no complete answer within {self._timeout:g} seconds")
            expected = response.headers.get("Content-Length")
            if expected is not None and answer.tell() < int(expected):
                raise http.client.IncompleteRead(answer.getvalue(), int(expected) - answer.tell())
            return response.headers.get_content_type(), answer.getvalue()


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        return None


def _header(spec: str) -> tuple[str, str]:
    header, equals, variable = spec.partition("=")
    if not equals or not header or not variable:
        raise ArgumentError(f"the teacher's header {spec!r} must be written Header=ENVIRONMENT_VARIABLE")
    value = os.environ.get(variable, "").strip()
    if not value or not value.isprintable():
        # The value itself is a secret and stays out of the sentence.
        raise ArgumentError(f"the environment variable {variable} of the header {header} is empty or not one line")
    return header, value


def _backoff(attempt: int) -> float:
    """Returns seconds: doubling, with jitter so that many clients do not come back at once."""
    return min(_LONGEST_BACKOFF, _FIRST_WAIT * 2**attempt) * random.uniform(0.5, 1.0)


def _retry_after(value: str | None, default: float) -> float:
    """Returns the seconds that a Retry-After header asks for (RFC 9110, 10.2.3: seconds or a date)."""
    if value is None:
        return default
    if value.strip().isdigit():
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return default


def _raw(answer: bytes, rows: int) -> np.ndarray:
    if not answer or len(answer) % (4 * rows):
        raise BadAnswer(f"the teacher answered {rows} images with {len(answer)} bytes, not {rows} rows of float32")
    return np.frombuffer(answer, "<f4").reshape(rows, -1)


def _json(answer: bytes, count: int, key: str, width: int | None) -> np.ndarray:
    try:
        parsed = json.loads(answer)
    except (ValueError, RecursionError) as error:
        raise BadAnswer(f"the teacher's answer is not JSON: {error}") from error
    entries = parsed.get(key) if isinstance(parsed, dict) else None
    if not isinstance(entries, list):
        raise BadAnswer(f'the teacher\'s answer has no list "{key}"')
    index = parsed.get("index", list(range(len(entries))))
    if "index" not in parsed and len(entries) != count:
        raise BadAnswer(
            f'the teacher answered {count} questions with {len(entries)} {key} and no "index" that tells whose'
        )
    if (
        not isinstance(index, list)
        or len(index) != len(entries)
        or not all(type(row) is int and 0 <= row < count for row in index)
        or len(set(index)) != len(index)
    ):
        raise BadAnswer(f'the teacher\'s "index" must name the question of each entry once, 0 to {count - 1}')
    if width is not None:
        entries = [_row(entry, width) for entry in entries]
    embeddings = _vectors(entries)
    if len(entries) < count:
        fault = f"the teacher answered {len(entries)} of {count} questions"
        raise NoAnswer(fault, rows=index, embeddings=embeddings)
    return embeddings[np.argsort(index)]


def _row(entry: object, width: int) -> list[object]:
    """Returns a list of `width` entries; what has another length is NaN, so that the other answers can be kept."""
    row = entry if isinstance(entry, list) else [entry]
    whole = len(row) == width and all(isinstance(number, int | float) and type(number) is not bool for number in row)
    return row if whole else [float("nan")] * width


def _vectors(entries: list[object]) -> np.ndarray:
    """Returns float64 [n, Dt]; a null becomes a row of NaN, which the ledger records as a bad answer."""
    lengths = {len(entry) for entry in entries if isinstance(entry, list)}
    if len(lengths) != 1:
        if not entries:
            return np.zeros((0, 0))
        raise BadAnswer(f"the teacher's embeddings have {sorted(lengths) or 'no'} numbers, not all the same")
    (dimension,) = lengths
    rows = [[float("nan")] * dimension if entry is None else entry for entry in entries]
    try:
        vectors = np.asarray(rows)
    except ValueError as error:
        raise BadAnswer("the teacher's embeddings are not lists of numbers") from error
    if vectors.ndim != 2 or vectors.dtype.kind not in "fiu":
        raise BadAnswer("the teacher's embeddings are not lists of numbers")
    return vectors.astype(np.float64)
