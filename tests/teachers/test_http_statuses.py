"""The HTTP client against a server of raw bytes: every status, every way a connection fails, and what errors say."""

import contextlib
import email.utils
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from kdistill.data import Image, ImageSet
from kdistill.errors import ArgumentError
from kdistill.teachers import BadAnswer, Ledger, NoAnswer, NotAsked, ask, open_teacher, post_json
from kdistill.teachers.services.comparisons import HttpTeacher
from kdistill.teachers.services.transport.statuses import Verdict, reason, verdict
from kdistill.teachers.services.transport.waits import asked_wait, backoff, limit_reset

TRY_AGAIN = {425, 429, 500, 503, 529, 530}
LOST = {*range(100, 200), 408, 460, 499, 502, 504, 509, *range(512, 525), 527, 528, *range(531, 600)} - {561}


class Server:
    """Reads one request a connection and writes what `answer` returns for it: bytes, or None to reset at once."""

    def __init__(self) -> None:
        self.answer: Callable[[bytes], bytes | None] = lambda request: b""
        self.requests: list[bytes] = []
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}/embed"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        connection.settimeout(5)
        request = b""
        while b"\r\n\r\n" not in request:
            part = connection.recv(1 << 16)
            if not part:
                return
            request += part
        head, _, body = request.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        early = self.answer(b"")
        if early:
            connection.sendall(early)  # before the body was read
            return
        while len(body) < length:
            part = connection.recv(1 << 16)
            if not part:
                return
            body += part
        self.requests.append(request)
        answer = self.answer(head)
        if answer is not None:
            connection.sendall(answer)


def says(status: int, body: bytes = b"", phrase: str = "Phrase", **headers: str) -> Callable[[bytes], bytes | None]:
    lines = [f"HTTP/1.1 {status} {phrase}", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    whole = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body
    return lambda head: whole if head else None


@pytest.fixture(scope="module")
def running() -> Iterator[Server]:
    server = Server()
    yield server
    server.listener.close()


@pytest.fixture
def server(running, monkeypatch) -> Server:
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
    running.requests = []
    return running


def test_the_table_has_a_verdict_and_a_reason_for_each_status():
    for status in range(100, 600):
        assert reason(status)
        if status in TRY_AGAIN:
            expected = Verdict.TRY_AGAIN
        elif status in LOST:
            expected = Verdict.LOST
        else:
            expected = Verdict.ANSWER if 200 <= status < 300 else Verdict.REFUSED
        assert verdict(status) is expected, status


def test_every_status_is_counted_and_retried_as_the_table_says(server):
    for status in range(100, 600):
        server.answer, server.requests = says(status, b"" if status == 204 else b'{"a": 1}'), []
        waits: list[float] = []
        try:
            outcome: object = post_json(server.url, {}, retries=2, sleep=waits.append, timeout=5)
        except (NotAsked, NoAnswer, BadAnswer) as error:
            outcome, told = type(error), str(error)
        if outcome in (NotAsked, NoAnswer) and status >= 200:
            assert f" answered {status} Phrase" in told
        if status == 204:
            assert outcome is BadAnswer, status  # a body cannot come with it
        elif 200 <= status < 300:
            assert outcome == {"a": 1}, status
        elif verdict(status) is Verdict.LOST:
            assert outcome is NoAnswer, status
        else:
            assert outcome is NotAsked, status
        tries = 3 if status in TRY_AGAIN else 1
        assert (len(server.requests), len(waits)) == (tries, tries - 1), status


@pytest.mark.parametrize(("status", "spent"), [(520, 4), (524, 4), (408, 4), (502, 4), (529, 2), (503, 2), (429, 2)])
def test_the_ledger_counts_by_the_table(server, tmp_path, status, spent):
    images = ImageSet([Image(str(n), array=np.full((1, 1, 3), n, np.uint8)) for n in range(4)])
    failing, good = says(status), says(200, b'{"embeddings": [[1, 2], [3, 4]]}')
    server.answer = lambda head: (failing if len(server.requests) < 2 else good)(head)
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        teacher = HttpTeacher(server.url, sleep=lambda seconds: None)
        answers = ask(teacher, images, range(2), ledger, budget=4)
        assert answers.spent == ledger.summary().spent == spent


def closed_port() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return unused.getsockname()[1]


def fails(url: str, **options) -> tuple[type, int, str]:
    waits: list[float] = []
    with pytest.raises((NotAsked, NoAnswer)) as caught:
        post_json(url, {"images": ["x" * 100]}, retries=2, sleep=waits.append, **options)
    return type(caught.value), len(waits), str(caught.value)


def test_what_never_reached_the_service_is_free_and_tried_again(server, monkeypatch):
    def no_name(*_, **__):
        raise socket.gaierror(-2, "Name or service not known")

    def distrusted(*_, **__):
        raise ssl.SSLCertVerificationError(1, "certificate verify failed")

    def no_route(*_, **__):
        raise OSError(101, "Network is unreachable")

    def slow(*_, **__):
        raise TimeoutError("timed out")

    assert fails(f"http://127.0.0.1:{closed_port()}/")[:2] == (NotAsked, 2)
    assert fails(server.url.replace("http:", "https:"), timeout=0.2)[:2] == (NotAsked, 2)  # no TLS there
    for fault in (no_name, distrusted, no_route, slow):
        with monkeypatch.context() as patch:
            patch.setattr(socket, "create_connection", fault)
            kind, waits, told = fails("http://teacher.invalid/")
            assert (kind, waits) == (NotAsked, 2), fault
            assert "cannot be reached" in told
            assert "also after 2 retries" in told


def test_a_request_that_was_not_taken_whole_is_free(server):
    def reset(accepting: socket.socket) -> None:
        while True:
            try:
                connection, _ = accepting.accept()
            except OSError:
                return
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            connection.recv(10)
            connection.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=reset, args=(listener,), daemon=True).start()
        waits: list[float] = []
        with pytest.raises(NotAsked, match="cannot be reached"):
            post_json(
                f"http://127.0.0.1:{listener.getsockname()[1]}/", ["x" * (8 << 20)], retries=1, sleep=waits.append
            )
        assert len(waits) == 1


def test_what_a_service_says_before_it_hangs_up_on_a_long_request_is_read(server):
    early = b'HTTP/1.1 413 Too Large\r\nContent-Length: 26\r\n\r\n{"detail": "at most 1 MB"}'
    server.answer = lambda head: early
    # A reset may overtake the answer on its way: free in any case.
    with pytest.raises(NotAsked, match=r"413 Too Large: at most 1 MB|cannot be reached"):
        post_json(server.url, ["x" * (8 << 20)], retries=0, timeout=5)


def test_an_answer_that_does_not_come_counts(server):
    server.answer = lambda head: b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{" if head else None
    assert fails(server.url)[:2] == (NoAnswer, 0)
    server.answer = lambda head: None
    assert fails(server.url)[:2] == (NoAnswer, 0)
    server.answer = lambda head: time.sleep(0.4) if head else None
    assert fails(server.url, timeout=0.2)[:2] == (NoAnswer, 0)
    server.answer = lambda head: b"no HTTP at all\r\n\r\n" if head else None
    assert fails(server.url)[:2] == (NoAnswer, 0)


BODIES = {
    b'{"error": {"message": "model not found", "type": "x"}}': "model not found",
    b'{"error": "no such model"}': "no such model",
    b'{"detail": "Not authenticated"}': "Not authenticated",
    b'{"detail": [{"loc": ["body"], "msg": "field required"}, {"msg": "too long"}]}': "field required; too long",
    b'{"message": "out of quota"}': "out of quota",
    b'{"error": true, "message": "flagged"}': "flagged",
    b'{"errors": [{"message": "first"}, {"message": "second"}]}': "first; second",
    b'{"Message": "capital"}': "capital",
    b'[{"error": {"code": 400, "message": "in a list"}}]': "in a list",
    b'"just text"': "just text",
    b'{"strange": 1}': '{"strange": 1}',
    b"plain\r\ntext\n": "plain text",
    b"<html><head><title>x</title></head><body><h1>Bad</h1><p>gateway &amp; co</p></body></html>": "Bad gateway & co",
    b"": "",
    b"{}": "",
    bytes(range(128, 256)) * 4: "",
    b"[" * 60_000: "[[",
    b'{"error": null, "detail": ""}': '{"error": null, "detail": ""}',
}


@pytest.mark.parametrize(("body", "told"), BODIES.items())
def test_what_an_error_says_stands_in_the_sentence(server, body, told):
    server.answer = says(400, body, "Bad Request")
    with pytest.raises(NotAsked) as caught:
        post_json(server.url, {})
    assert f"answered 400 Bad Request{f': {told}' if told else ''}" in str(caught.value)
    assert len(str(caught.value)) < 450


def test_no_sentence_holds_a_secret(server, monkeypatch):
    monkeypatch.setenv("KEY", 'sk-"top"+secret/0123=')
    monkeypatch.setenv("OTHER", "value-of-other")
    for echo in (
        'sk-"top"+secret/0123=',
        'Bearer sk-"top"+secret/0123=',
        "sk-%22top%22%2Bsecret%2F0123%3D",
        "value-of-other",
        "key=in+the%20url",
        "in the url",
        "Authorization: Bearer somebody.elses-token1",
    ):
        for body in (echo.encode(), json.dumps({"error": {"message": f"wrong key {echo}!"}}).encode()):
            server.answer = says(401, body, phrase=echo)
            teacher = open_teacher(
                server.url + "?key=in+the%20url", headers=["Authorization=KEY", "X-Other=OTHER"], retries=0
            )
            with pytest.raises(NotAsked) as caught:
                teacher.embed([Image("a", array=np.zeros((1, 1, 3), np.uint8))])
            told = str(caught.value)
            for secret in ("top", "secret", "value-of-other", "in the url", "in+the", "elses-token"):
                assert secret not in told, (echo, told)
            assert "***" in told


@pytest.mark.parametrize(
    ("header", "value", "sent"),
    [
        ("Authorization", "KEY123", "Bearer KEY123"),
        ("authorization", "KEY123", "Bearer KEY123"),
        ("Authorization", "Bearer KEY123", "Bearer KEY123"),
        ("Authorization", "bearer KEY123", "bearer KEY123"),
        ("Authorization", "Basic dTpw", "Basic dTpw"),
        ("Authorization", "Token abc", "Token abc"),
        ("x-goog-api-key", "KEY123", "KEY123"),
        ("X-Api-Key", " KEY123\n", "KEY123"),
    ],
)
def test_a_key_may_be_bare(server, monkeypatch, header, value, sent):
    monkeypatch.setenv("KEY", value)
    server.answer = says(200, b'{"embeddings": [[1, 2]]}')
    open_teacher(server.url, headers=[f"{header}=KEY"]).embed([Image("a", array=np.zeros((1, 1, 3), np.uint8))])
    assert f"\r\n{header.title()}: {sent}\r\n".encode() in server.requests[0]


def waits_for(server, answer, retries=5) -> list[float]:
    server.answer = answer
    waits: list[float] = []
    with pytest.raises(NotAsked):
        post_json(server.url, {}, retries=retries, sleep=waits.append)
    return waits


@pytest.mark.parametrize("status", [429, 503, 529])
def test_the_default_retries_outlast_a_limit_by_the_minute(server, status):
    waits = waits_for(server, says(status))
    assert len(waits) == 5
    assert sum(waits) >= 90
    assert max(waits) <= 60
    # Also for a service that always says that a second is enough.
    assert sum(waits_for(server, says(status, Retry_After="1"))) >= 90


def test_waits_double_with_jitter_up_to_a_minute():
    for attempt in range(40):
        for limit, first in ((False, 1), (True, 4)):
            drawn = [backoff(attempt, limit=limit) for _ in range(20)]
            nominal = min(60, first * 2 ** min(attempt, 10))
            assert 0.8 * nominal <= min(drawn) < max(drawn) <= nominal


NOW = 1_800_000_000.0


@pytest.fixture
def now(monkeypatch) -> None:
    monkeypatch.setattr(time, "time", lambda: NOW)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"Retry-After": "30"}, 30),
        ({"retry-after": " 1.5 "}, 1.5),
        ({"Retry-After": email.utils.formatdate(NOW + 1000, usegmt=True)}, 1000),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "-3"}, None),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "\u00b2"}, None),
        ({"Retry-After": ""}, None),
        ({"Retry-After-Ms": "250", "Retry-After": "1"}, 0.25),
        ({}, None),
    ],
)
def test_how_long_a_service_asks_to_be_left_alone(now, headers, expected):
    found = asked_wait(headers)
    assert found == expected if expected is None else found == pytest.approx(expected, abs=1)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"x-ratelimit-reset-requests": "1m30s", "x-ratelimit-reset-tokens": "20ms"}, 90),
        ({"X-RateLimit-Reset-Requests": "6m0s", "X-RateLimit-Remaining-Requests": "0"}, 360),
        ({"x-ratelimit-reset-requests": "50s", "x-ratelimit-remaining-requests": "7"}, None),
        ({"RateLimit-Reset": "42"}, 42),
        ({"X-RateLimit-Reset": str(int(NOW) + 500)}, 500),
        ({"X-Rate-Limit-Reset": str(int(1000 * NOW) + 500_000)}, 500),
        (
            {"anthropic-ratelimit-tokens-reset": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(NOW + 500))},
            500,
        ),
        ({"x-ratelimit-reset": "2d"}, None),
        ({"x-ratelimit-reset": "9" * 60}, None),
        ({"x-ratelimit-limit": "5"}, None),
        ({"reset": "5"}, None),
    ],
)
def test_when_a_limit_begins_anew(now, headers, expected):
    found = limit_reset(headers)
    assert found == expected if expected is None else found == pytest.approx(expected, abs=1)


def test_what_the_service_asks_for_is_done_and_said(server, caplog):
    caplog.set_level("INFO", logger="absl")
    assert waits_for(server, says(429, Retry_After="30"), retries=1) == [30]
    assert "the teacher asks to wait 30 s (429)" in caplog.text
    assert waits_for(server, says(429, x_ratelimit_reset_requests="1m17s"), retries=1) == [77]
    assert waits_for(server, says(429, Retry_After="601")) == []
    assert waits_for(server, says(503, Retry_After="0"), retries=1)[0] > 3


@pytest.mark.parametrize("retries", [-1, 1.5, True, None, "3", float("nan"), 10**9])
def test_impossible_retries_are_refused(retries):
    for open_it in (open_teacher, HttpTeacher, lambda url, **options: post_json(url, {}, **options)):
        with pytest.raises(ArgumentError, match="retries are"):
            open_it("http://host/x", retries=retries)


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), 1e9, True, None, "60"])
def test_impossible_timeouts_are_refused(timeout):
    for open_it in (open_teacher, HttpTeacher, lambda url, **options: post_json(url, {}, **options)):
        with pytest.raises(ArgumentError, match="timeout is"):
            open_it("http://host/x", timeout=timeout)


@pytest.mark.parametrize(
    "url",
    ["http://host:99999/", "http://host:x/", "http://[::1", "http://host/a b", "http://host/\n", "http://host:0/"],
)
def test_impossible_addresses_are_refused_before_anything_is_asked(url):
    with pytest.raises(ArgumentError, match="address"):
        HttpTeacher(url)


@pytest.mark.parametrize(
    "headers", [{"Bad Name": "x"}, {"": "x"}, {"X": ""}, {"X": "a\nb"}, {"X": "käse"}, {"X:": "y"}]
)
def test_impossible_headers_are_refused_without_their_values(headers):
    with pytest.raises(ArgumentError) as caught:
        post_json("http://host/", {}, headers=headers)
    assert "käse" not in str(caught.value)


def test_an_address_with_other_letters_is_sent_escaped(server):
    server.answer = says(200, b'{"ok": [1]}')
    assert post_json(server.url.replace("embed", "ünï?q=ä"), {}) == {"ok": [1]}
    assert server.requests[0].startswith(b"POST /%C3%BCn%C3%AF?q=%C3%A4 HTTP/1.1\r\n")


def test_a_payload_that_is_no_json_is_an_argument_error(server):
    with pytest.raises(ArgumentError, match="is no JSON"):
        post_json(server.url, {"image": b"bytes"})


def test_an_answer_that_is_no_json_is_a_bad_answer(server):
    server.answer = says(200, b"<html>")
    with pytest.raises(BadAnswer, match="is not JSON"):
        post_json(server.url, {})
