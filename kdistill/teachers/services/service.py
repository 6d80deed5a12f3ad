"""One address that is asked in one form: what all teachers behind HTTP have in common."""

import hashlib
import json
import os
import threading
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from kdistill.errors import ArgumentError, KdistillError
from kdistill.teachers.services.forms.form import OWN, Form
from kdistill.teachers.services.forms.template import filled
from kdistill.teachers.services.shortened import shortened
from kdistill.teachers.services.transport.client import RETRIES, HttpClient
from kdistill.teachers.services.transport.pace import Pace
from kdistill.teachers.services.transport.waits import backoff

JSON = "application/json"


class Service:
    """Sends filled templates and returns what came back; may be called from several threads.

    Attributes:
        name: the address without query, and what else decides the answers: the model, a hash of the form.
        largest_batch: the most images in one request, None for any number.
    """

    def __init__(
        self,
        url: str,
        form: Form,
        *,
        model: str | None = None,
        common: Mapping[str, Any] | None = None,
        headers: Sequence[str] = (),
        timeout: float = 60.0,
        retries: int = RETRIES,
        requests_per_minute: float | None = None,
        pace: Pace | None = None,
        sleep: Callable[[float], None] | None = None,
    ) -> None:
        """Checks the arguments; asks nothing.

        Args:
            url: http(s) address that takes the POST, as far as the form has no path of its own.
            form: how it is asked.
            model: the model's name, where the form has {model}.
            common: values of further names in the form.
            headers: "Header=VARIABLE"; the environment variable holds the header's value, or the bare key where the
                form's key has a scheme.
            timeout: seconds for one request, from connecting to the last byte.
            retries: further attempts after 429, 500, 503, 529 or where no connection came about.
            requests_per_minute: the most requests, evenly apart; None for no limit.
            pace: of clients of the same service that were opened before; else one is made of `requests_per_minute`.
            sleep: waits so many seconds (tests pass their own).

        Raises:
            ArgumentError: a malformed address or header, a variable that is not set, a timeout or retries that cannot
                be right, a model's name or key that is missing or has no place.
        """
        self._form, self._common = form, {"model": model, **(common or {})}
        check_model(form, model)
        named = dict(header_of(spec, form) for spec in headers)
        check_key(form, named)
        self._pace = pace or Pace(requests_per_minute, sleep=sleep)
        self._client = HttpClient(
            url,
            path=form.path,
            headers=named,
            timeout=timeout,
            retries=retries,
            pace=self._pace,
            least_wait=form.least_wait,
            # That of the own form is the client's.
            most_bytes=None if form.name == OWN else form.most_answer_mebibytes << 20,
        )
        # A query may hold a key, so that only its digest is shown; a fragment is never sent.
        query = urllib.parse.urlsplit(url).query
        self.name = self._client.name + (f"?{_digest(query)}" if query else "")
        if form.name != OWN:
            self.name = " ".join([self.name, *([model] if model else []), form.digest])
        self.largest_batch = form.images
        self._failures, self._lock = 0, threading.Lock()

    def hurried(self) -> AbstractContextManager[None]:
        """Returns a context within which no request waits for its turn or another attempt; see `Pace.hurried`."""
        return self._pace.hurried()

    def _post(self, images: Sequence[Mapping[str, Any]], **common: Any) -> tuple[str, bytes]:
        """Returns the content type and content of the answer to a filled template; fails as `HttpClient.post`."""
        return self._send(*self._body(images, **common))

    def _send(self, content: bytes, kind: str) -> tuple[str, bytes]:
        accept = f"{JSON}, application/octet-stream" if "raw" in self._form.answer else JSON
        if self._failures:
            self._pace.wait(backoff(self._failures - 1))
        try:
            answer = self._client.post(content, accept, kind)
        except KdistillError:
            with self._lock:
                self._failures += 1
            raise
        with self._lock:
            self._failures = 0
        return answer

    def _body(self, images: Sequence[Mapping[str, Any]], **common: Any) -> tuple[bytes, str]:
        if self._form.request == "{bytes}":
            return images[0]["bytes"], images[0]["mime"]
        return json.dumps(filled(self._form.request, self._common | common, images)).encode(), JSON

    def _shown(self, images: Sequence[Mapping[str, Any]], **common: Any) -> str:
        """Returns what would be sent, shortened, without the values of the user's headers."""
        return self._text(*self._body(images, **common))

    def _text(self, content: bytes, kind: str) -> str:
        headers = "".join(f"{name}: {value}\n" for name, value in self._client.shown_headers(kind).items())
        text = json.dumps(shortened(json.loads(content))) if kind == JSON else f"({len(content):,} bytes)"
        return f"POST {self._client.name}\n{headers}\n{text}"


def header_of(spec: str, form: Form) -> tuple[str, str]:
    """Returns the name and value of a header that is written Header=VARIABLE, with the form's scheme before a bare key.

    Raises:
        ArgumentError: malformed, or the variable is not set, is empty or holds several lines.
    """
    header, equals, variable = spec.partition("=")
    if not equals or not header or not variable:
        raise ArgumentError(f"the teacher's header {spec!r} must be written Header=ENVIRONMENT_VARIABLE")
    value = os.environ.get(variable, "").strip()
    if not value or not value.isprintable():
        # The value itself is a secret and stays out of the sentence.
        raise ArgumentError(
            f"the environment variable {variable} of the header {header} is not set, is empty or not one line"
        )
    bare = " " not in value and form.key.scheme and header.lower() == form.key.header.lower()
    return header, f"{form.key.scheme} {value}" if bare else value


def check_model(form: Form, model: str | None) -> None:
    """Raises ArgumentError unless a model's name is given where the form has a place for it, and only there."""
    if "model" in form.names and not model:
        raise ArgumentError(f"the form {form.name} sends the name of a model; give --teacher_model=NAME")
    if model and "model" not in form.names:
        raise ArgumentError(f"the form {form.name} has no place for --teacher_model={model}; leave it out")


def check_key(form: Form, headers: Mapping[str, str] | Sequence[str]) -> None:
    """Raises ArgumentError where the service needs a key and none of the headers' names is that of the key."""
    if form.key.required and form.key.header.lower() not in {name.lower() for name in headers}:
        raise ArgumentError(
            f"the form {form.name} needs a key; give --teacher_headers={form.key.header}=VARIABLE, the environment "
            "variable that holds it"
        )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
