"""One POST to a service, asked again where that is free, and told apart where it is not: the rules of `statuses`.

The standard library's urllib does all that this needs; a session library would be one more dependency for one
request a batch. Redirects are not followed: they would carry the key to another host.
"""

import contextlib
import http.client
import io
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any

from absl import logging

from kdistill.errors import ArgumentError
from kdistill.teachers.services.forms.answers import decoded
from kdistill.teachers.services.transport.arguments import address_parts, check_patience, header_value
from kdistill.teachers.services.transport.connection import Http, Https, NoRedirect
from kdistill.teachers.services.transport.faults import MAX_BODY, secrets_of, shown, told
from kdistill.teachers.services.transport.pace import Pace
from kdistill.teachers.services.transport.statuses import Verdict, is_limit, verdict
from kdistill.teachers.services.transport.waits import MAX_WAIT, asked_wait, backoff, limit_reset
from kdistill.teachers.teacher import BadAnswer, NoAnswer, NotAsked

MAX_ANSWER_BYTES = 16 << 20
"""A longer answer to one batch is cut off and refused."""

RETRIES = 5


class HttpClient:
    """Posts to one address.

    Attributes:
        name: the address as it may be shown: without credentials or query.
    """

    def __init__(
        self,
        url: str,
        *,
        headers: Mapping[str, str],
        timeout: float = 60.0,
        retries: int = RETRIES,
        pace: Pace | None = None,
        path: str = "",
        least_wait: float = 0.0,
        most_bytes: int | None = None,
    ) -> None:
        """Checks the arguments; asks nothing.

        Args:
            url: http(s) address.
            headers: name -> value; a bare key as `Authorization` is sent as "Bearer KEY".
            timeout: seconds for one request, from connecting to the last byte.
            retries: further attempts where the last one was free of charge.
            pace: when requests may start; shared by the clients of one service.
            path: what is appended to the address, before its query.
            least_wait: seconds before another attempt after a limit, where the service does not say how long.
            most_bytes: a longer answer is cut off and refused; None for MAX_ANSWER_BYTES.

        Raises:
            ArgumentError: a malformed address or header, or numbers that cannot be right.
        """
        parts = address_parts(url)
        parts = parts._replace(path=parts.path + path)
        check_patience(timeout, retries)
        self.name = f"{parts.scheme}://{parts.netloc}{parts.path}"
        self._headers = {name: header_value(name, value) for name, value in headers.items()}
        self._url = urllib.parse.urlunsplit(parts._replace(fragment=""))
        self._secrets = secrets_of(self._url, self._headers)
        self._timeout, self._retries, self._least_wait = timeout, retries, least_wait
        self._most_bytes = most_bytes
        self._pace = pace or Pace()
        self._opener = urllib.request.build_opener(NoRedirect, Http, Https)

    def post(
        self, body: bytes, accept: str = "application/json", content_type: str = "application/json"
    ) -> tuple[str, bytes]:
        """Returns the answer's content type and content.

        May be called from several threads.

        Raises:
            NotAsked: refused, not reached, or still "not served" after all retries.
            NoAnswer: timed out, cut off on the way back, or lost by a server between.
            BadAnswer: too long.
        """
        headers = {"Content-Type": content_type, "Accept": accept}
        return self._request(urllib.request.Request(self._url, body, headers | self._headers, method="POST"))

    def get(self) -> bytes:
        """Returns what stands at the address; fails as `post`."""
        headers = {"Accept": "application/json"}
        return self._request(urllib.request.Request(self._url, None, headers | self._headers, method="GET"))[1]

    def shown_headers(self, content_type: str) -> dict[str, str]:
        """Returns what stands before a body, without the values of the user's own headers."""
        return {"Content-Type": content_type} | {name: "***" for name in self._headers}

    def _request(self, request: urllib.request.Request) -> tuple[str, bytes]:
        with self._pace.turn() as turn:
            for attempt in range(self._retries + 1):
                turn.start()
                try:
                    return self._exchange(request)
                except urllib.error.HTTPError as error:
                    with error:
                        said = told(error.code, str(error.reason or ""), self._body(error), self._secrets)
                    fault = f"the teacher {self.name} answered {said}"
                    judged = verdict(error.code)
                    if judged is Verdict.LOST:
                        raise NoAnswer(fault) from error
                    if judged is not Verdict.TRY_AGAIN:
                        raise NotAsked(fault) from error
                    wait = wait_after(error.code, error.headers, attempt, fault, self._least_wait)
                    what = f"the teacher asks to wait {wait:.0f} s ({error.code})"
                except urllib.error.URLError as error:
                    # No connection, or one that broke before it had taken the whole request: nobody can have answered.
                    fault = f"the teacher {self.name} cannot be reached: {shown(_reason(error.reason), self._secrets)}"
                    wait = backoff(attempt)
                    what = f"{fault}; asking again in {wait:.0f} s"
                except (OSError, http.client.HTTPException) as error:
                    said = shown(_reason(error), self._secrets)
                    raise NoAnswer(f"the teacher {self.name} did not answer: {said}") from error
                if attempt < self._retries:
                    logging.info("%s", what)
                    turn.wait(wait)
        retries = f"{self._retries} {'retry' if self._retries == 1 else 'retries'}"
        raise NotAsked(fault + (f", also after {retries}" if self._retries else ""))

    def _exchange(self, request: urllib.request.Request) -> tuple[str, bytes]:
        # The socket's timeout starts anew with every byte; the deadline does not.
        deadline = time.monotonic() + self._timeout
        most = MAX_ANSWER_BYTES if self._most_bytes is None else self._most_bytes
        with self._opener.open(request, timeout=self._timeout) as response:
            self._pace.heard(dict(response.headers.items()))
            answer = io.BytesIO()
            while part := response.read1(1 << 16):
                answer.write(part)
                if answer.tell() > most:
                    raise BadAnswer(f"the teacher {self.name} answered more than {most >> 20} MiB")
                if time.monotonic() > deadline:
                    raise TimeoutError(f"no complete answer within {self._timeout:g} seconds")
            expected = response.headers.get("Content-Length")
            if expected is not None and expected.strip().isdecimal() and answer.tell() < int(expected):
                raise http.client.IncompleteRead(answer.getvalue(), int(expected) - answer.tell())
            return response.headers.get_content_type(), answer.getvalue()

    def _body(self, error: urllib.error.HTTPError) -> bytes:
        """Returns what has arrived of an error's body within the time-out; its status is known already."""
        deadline, body = time.monotonic() + min(self._timeout, 10.0), b""
        with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
            while len(body) < MAX_BODY and time.monotonic() < deadline:
                part = error.fp.read1(1 << 14)  # type: ignore[attr-defined]
                if not part:
                    break
                body += part
        return body


def post_json(
    url: str,
    payload: Any,
    *,
    headers: Mapping[str, str] | None = None,
    timeout: float = 60.0,
    retries: int = RETRIES,
    sleep: Callable[[float], None] = time.sleep,
) -> Any:
    """Posts JSON to a service and returns its decoded answer: for functions that speak with a service of their own.

    Arguments that are not explained are those of `HttpClient`.

    Args:
        sleep: waits so many seconds (tests pass their own).
        payload: anything that `json.dumps` takes.
        headers: name -> value; a bare key as `Authorization` is sent as "Bearer KEY".

    Raises:
        ArgumentError: as `HttpClient`, or a payload that is no JSON.
        NotAsked, NoAnswer, BadAnswer: as docs/teachers.md says for each status; let them through, and the ledger counts
            right.
    """
    client = HttpClient(url, headers=headers or {}, timeout=timeout, retries=retries, pace=Pace(sleep=sleep))
    try:
        body = json.dumps(payload).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ArgumentError(f"the payload for {client.name} is no JSON: {error}") from error
    return decoded(client.post(body)[1])


def wait_after(status: int, headers: Any, attempt: int, fault: str, least: float = 0.0) -> float:
    """Returns the seconds before a service that answered with such a status is asked for the attempt + 2nd time.

    At least `least` after a limit of which it does not say how long it lasts.

    Raises:
        NotAsked: it wants to be left alone for longer than MAX_WAIT.
    """
    named = dict(headers.items()) if headers is not None else {}
    own = backoff(attempt, limit=is_limit(status))
    asked = asked_wait(named)
    if asked is not None and asked > MAX_WAIT:
        raise NotAsked(f"{fault} and wants to be left alone for {asked:.0f} seconds")
    if asked:
        # A service that was not ready after the time for which it had asked is given longer.
        return asked if attempt == 0 else max(asked, own)
    if not is_limit(status):
        return own
    reset = limit_reset(named)
    return max(own, least if reset is None else reset)


def _reason(error: object) -> str:
    return str(error) or type(error).__name__
