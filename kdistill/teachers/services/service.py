"""A teacher behind HTTP.

The protocol, one POST a batch. Request, `application/json`: {"images": ["base64 of an image file", ...]}.
Answer, one of:

    application/json           {"embeddings": [[number, ...] or null, ...]}, one entry an image, in order; or with
                               "index": [int, ...], the positions of the images that the entries belong to
    application/octet-stream   little-endian float32 [n, Dt], one row an image, in order

Services that compare images instead are asked as `comparisons` says.
"""

import hashlib
import json
import os
import time
import urllib.parse
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kdistill.data.images import Image
from kdistill.errors import ArgumentError
from kdistill.teachers.counted import counted
from kdistill.teachers.services.client import RETRIES, HttpClient, decoded
from kdistill.teachers.services.comparisons import HttpComparisons, base64_of
from kdistill.teachers.services.waits import backoff
from kdistill.teachers.teacher import BadAnswer, NoAnswer


class HttpTeacher(HttpComparisons):
    """Asks a service for the embeddings of encoded images, for orders of them, or for preferences."""

    view = "encoded"

    def __init__(
        self,
        url: str,
        *,
        headers: Sequence[str] = (),
        timeout: float = 60.0,
        retries: int = RETRIES,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Checks the arguments; asks nothing.

        Args:
            url: http(s) address that takes the POST.
            headers: "Header=VARIABLE"; the environment variable holds the header's value, or the bare key where the
                header is `Authorization`, which is sent as "Bearer KEY".
            timeout: seconds for one request, from connecting to the last byte.
            retries: further attempts after 429, 500, 503, 529 or where no connection came about.
            sleep: waits so many seconds (tests pass their own).

        Raises:
            ArgumentError: a malformed address or header, a variable that is not set, a timeout or retries that cannot
                be right.
        """
        named = dict(_header(spec) for spec in headers)
        self._client = HttpClient(url, headers=named, timeout=timeout, retries=retries, sleep=sleep)
        # A query may hold a key, so that only its digest is shown; a fragment is never sent.
        query = urllib.parse.urlsplit(url).query
        self.name = self._client.name + (f"?{hashlib.sha256(query.encode()).hexdigest()[:12]}" if query else "")
        self._sleep, self._failures = sleep, 0

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
            self._sleep(backoff(self._failures - 1))
        self._failures += 1
        kind, answer = self._client.post(body, "application/json, application/octet-stream")
        self._failures = 0
        if kind == "application/octet-stream":
            return _raw(answer, count)
        return _json(answer, count, key, width)


def _header(spec: str) -> tuple[str, str]:
    header, equals, variable = spec.partition("=")
    if not equals or not header or not variable:
        raise ArgumentError(f"the teacher's header {spec!r} must be written Header=ENVIRONMENT_VARIABLE")
    value = os.environ.get(variable, "").strip()
    if not value or not value.isprintable():
        # The value itself is a secret and stays out of the sentence.
        raise ArgumentError(
            f"the environment variable {variable} of the header {header} is not set, is empty or not one line"
        )
    return header, value


def _raw(answer: bytes, rows: int) -> np.ndarray:
    if not answer or len(answer) % (4 * rows):
        asked = counted(rows, "question")
        raise BadAnswer(f"the teacher answered {asked} with {len(answer)} bytes, not {counted(rows, 'row')} of float32")
    return np.frombuffer(answer, "<f4").reshape(rows, -1)


def _json(answer: bytes, count: int, key: str, width: int | None) -> np.ndarray:
    parsed = decoded(answer)
    entries = parsed.get(key) if isinstance(parsed, dict) else None
    if not isinstance(entries, list):
        raise BadAnswer(f'the teacher\'s answer has no list "{key}"')
    index = parsed.get("index", list(range(len(entries))))
    if "index" not in parsed and len(entries) != count:
        asked = counted(count, "question")
        raise BadAnswer(f'the teacher answered {asked} with {len(entries)} {key} and no "index" that tells whose')
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
        fault = f"the teacher answered {len(entries)} of {counted(count, 'question')}"
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
