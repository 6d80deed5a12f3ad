"""What naive functions raise: as urllib, requests, httpx, botocore and SDKs do, none of which is needed here."""

import email.message
import enum
import io
import socket
import ssl
import urllib.error

import numpy as np
import pytest

from kdistill.data import Image, ImageSet
from kdistill.errors import KdistillError
from kdistill.preferences.orders import as_order_teacher, ask_orders
from kdistill.preferences.pairs import as_preference_teacher, ask_preferences
from kdistill.teachers import Ledger, NoAnswer, NotAsked, ask, open_teacher
from kdistill.teachers.providers.function_faults import called, status_of


def http_error(status: int, body: bytes = b"", **headers: str) -> urllib.error.HTTPError:
    message = email.message.Message()
    for name, value in headers.items():
        message[name.replace("_", "-")] = value
    return urllib.error.HTTPError("http://host/", status, "Phrase", message, io.BytesIO(body))


class Response:
    def __init__(self, status: int, content: bytes = b"", **headers: str) -> None:
        self.status_code, self.content = status, content
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


class RequestsHTTPError(OSError):
    def __init__(self, response: Response) -> None:
        super().__init__("error for url")
        self.response = response


class Coded(Exception):
    def __init__(self, **attributes: object) -> None:
        super().__init__("coded")
        self.__dict__.update(attributes)


class Code(enum.IntEnum):
    TOO_MANY = 429


def caused_by(cause: BaseException) -> RuntimeError:
    error = RuntimeError("wrapped")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (http_error(429), 429),
        (RequestsHTTPError(Response(503)), 503),
        (Coded(status_code=401), 401),
        (Coded(code=404), 404),
        (Coded(code=Code.TOO_MANY), 429),
        (Coded(status=502), 502),
        (Coded(response={"ResponseMetadata": {"HTTPStatusCode": 400}}), 400),
        (caused_by(http_error(529)), 529),
        (Coded(code="rate_limit"), None),
        (Coded(code=1), None),
        (Coded(code=True), None),
        (Coded(code=lambda: 429), None),
        (Coded(response=None), None),
        (ValueError(429), None),
        (KeyError("status"), None),
    ],
)
def test_the_status_of_an_exception(error, status):
    assert status_of(error) == status


def run(*script: object) -> tuple[object, list[float]]:
    """Calls a function that raises or returns the script's steps; returns what came of it, and the waits."""
    steps, waits = list(script), []

    def function():
        step = steps.pop(0)
        if isinstance(step, BaseException):
            raise step
        return step

    try:
        return called("scripted", function, sleep=waits.append), waits
    except Exception as error:
        return error, waits


@pytest.mark.parametrize("status", [429, 500, 503, 529])
def test_not_served_is_asked_again(status):
    answer, waits = run(http_error(status), RequestsHTTPError(Response(status)), Coded(status_code=status), 7)
    assert (answer, len(waits)) == (7, 3)
    error, waits = run(*[http_error(status) for _ in range(6)])
    assert (type(error), len(waits)) == (NotAsked, 5)
    assert f"answered {status}" in str(error)
    assert "also after 5 retries" in str(error)


def test_waits_are_those_of_the_client():
    assert run(http_error(429, Retry_After="33"), 1) == (1, [33])
    assert run(RequestsHTTPError(Response(429, retry_after="21")), 1) == (1, [21])
    error, waits = run(http_error(429, Retry_After="3600"))
    assert (type(error), waits) == (NotAsked, [])
    _, waits = run(*[http_error(429) for _ in range(6)])
    assert sum(waits) >= 90


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 301, 501])
def test_a_refusal_is_free_and_final(status):
    for error in (http_error(status, b'{"error": {"message": "why"}}'), RequestsHTTPError(Response(status, b"why"))):
        found, waits = run(error)
        assert (type(found), waits) == (NotAsked, [])
        assert f"scripted answered {status} " in str(found)
        assert str(found).endswith(": why")


class ReadTimeout(Exception):
    pass


class Timeout(Exception):
    """As of requests, whose errors are known by their names."""


class ConnectTimeout(Timeout):
    pass


class NewConnectionError(Exception):
    pass


@pytest.mark.parametrize(
    "error",
    [
        *(http_error(status) for status in (408, 502, 504, 520, 524, 598)),
        TimeoutError("timed out"),
        ConnectionResetError("reset"),
        Timeout("read timed out"),
        urllib.error.URLError(TimeoutError("timed out")),
        caused_by(TimeoutError("timed out")),
    ],
)
def test_what_may_have_been_charged_is_unknown(error):
    found, waits = run(error)
    assert (type(found), waits) == (NoAnswer, [])


@pytest.mark.parametrize(
    "error",
    [
        ConnectionRefusedError("refused"),
        urllib.error.URLError(ConnectionRefusedError("refused")),
        urllib.error.URLError(socket.gaierror(-2, "unknown")),
        ssl.SSLCertVerificationError("distrusted"),
        ConnectTimeout("connect timed out"),
        OSError(NewConnectionError("refused")),
        caused_by(ConnectionRefusedError("refused")),
    ],
)
def test_what_never_arrived_is_free_and_tried_again(error):
    assert run(error, 5)[0] == 5
    found, waits = run(*[error] * 6)
    assert (type(found), len(waits)) == (NotAsked, 5)


@pytest.mark.parametrize("error", [ValueError("x"), ZeroDivisionError(), FileNotFoundError("x"), Coded(code=200)])
def test_any_other_exception_stays_what_it_is(error):
    assert run(error) == (error, [])


def test_an_earlier_fault_that_was_handled_says_nothing_about_a_later_one():
    def function():
        try:
            raise ConnectionRefusedError("first server")
        except ConnectionRefusedError:
            raise TimeoutError("second server")  # noqa: B904

    with pytest.raises(NoAnswer, match="second server"):
        called("scripted", function)


IMAGES = ImageSet([Image(str(n), array=np.full((1, 1, 3), n, np.uint8)) for n in range(8)])


def throttled(times: int, error: Exception, answer):
    """Returns a function that raises so many times before it answers."""
    left = [times]

    def function(*arguments):
        if left[0]:
            left[0] -= 1
            raise error
        return answer(*arguments)

    return function


def vectors(images):
    return np.stack([image.pixels()[0, 0] for image in images]).astype(np.float32)


def test_a_naive_function_that_is_throttled_counts_each_question_once(tmp_path):
    waits: list[float] = []
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        teacher = open_teacher(throttled(2, http_error(429), vectors))
        answers = ask(teacher, IMAGES, range(8), ledger, budget=8, batch_size=4, sleep=waits.append)
        assert (answers.spent, len(answers.indices), len(waits)) == (8, 8, 2)


def test_a_naive_function_that_is_refused_counts_nothing(tmp_path):
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        teacher = open_teacher(throttled(1, RequestsHTTPError(Response(403, b'{"detail": "no credit"}')), vectors))
        with pytest.raises(NotAsked, match="answered 403 Forbidden: no credit"):
            ask(teacher, IMAGES, range(8), ledger, budget=8)
        assert ledger.summary().spent == 0
        assert len(ask(teacher, IMAGES, range(8), ledger, budget=8).indices) == 8


def test_a_naive_function_that_times_out_counts_what_may_be_charged(tmp_path):
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        teacher = open_teacher(throttled(1, TimeoutError("timed out"), vectors))
        answers = ask(teacher, IMAGES, range(3), ledger, budget=8, batch_size=3)
        assert (answers.spent, len(answers.indices)) == (6, 3)


def test_functions_that_compare_and_objects_that_embed_are_heard_as_well(tmp_path):
    queries, candidates = np.arange(2), np.array([[2, 3, 4], [5, 6, 7]])
    with Ledger(tmp_path / "orders.sqlite") as ledger:
        rank = throttled(1, http_error(401), lambda query, shown: [2, 0, 1])
        teacher = as_order_teacher(open_teacher(rank))
        with pytest.raises(NotAsked, match="answered 401"):
            ask_orders(teacher, IMAGES, queries, candidates, ledger, budget=2)
        assert ask_orders(teacher, IMAGES, queries, candidates, ledger, budget=2).spent == 2
    with Ledger(tmp_path / "pairs.sqlite") as ledger:
        prefer = throttled(1, Coded(status=403), lambda query, first, second: 0.75)
        preferring = as_preference_teacher(open_teacher(prefer))
        triples = np.array([[0, 1, 2], [3, 4, 5]])
        with pytest.raises(NotAsked, match="answered 403"):
            ask_preferences(preferring, IMAGES, triples, ledger, budget=2)
        assert ask_preferences(preferring, IMAGES, triples, ledger, budget=2).spent == 2

    class Teacher:
        name, view = "object", "image"
        embed = staticmethod(throttled(1, Coded(status_code=404), vectors))

    with Ledger(tmp_path / "object.sqlite") as ledger:
        with pytest.raises(NotAsked, match="answered 404"):
            ask(Teacher(), IMAGES, range(2), ledger, budget=2)
        assert ledger.summary().spent == 0


def test_functions_that_compare_may_say_what_they_ask_and_show(tmp_path):
    def rank(query, shown):
        return [2, 0, 1]

    def prefer(query, first, second):
        return 0.75

    for function, as_teacher in ((rank, as_order_teacher), (prefer, as_preference_teacher)):
        assert as_teacher(open_teacher(function)).view == "image"
        function.name, function.view = "service/3", "jpeg-512"
        teacher = as_teacher(open_teacher(function))
        assert (teacher.name, teacher.view) == ("service/3", "jpeg-512")
    queries, candidates = np.arange(2), np.array([[2, 3, 4], [5, 6, 7]])
    with Ledger(tmp_path / "orders.sqlite") as ledger:
        ask_orders(as_order_teacher(open_teacher(rank)), IMAGES, queries, candidates, ledger, budget=2)
        assert ledger.summary().view == "order/3/jpeg-512"
        rank.view = "jpeg-1024"
        with pytest.raises(KdistillError, match="view 'order/3/jpeg-512', not of 'order/3/jpeg-1024'"):
            ask_orders(as_order_teacher(open_teacher(rank)), IMAGES, queries, candidates, ledger, budget=2)


KEYS = [
    "403 Client Error: Forbidden for url: https://api.example/v1/embed?key=TOPsecret01&size=5",
    "Max retries exceeded with url: /v1/embed?api_key=TOPsecret01 (Caused by ...)",
    "GET https://h/x?size=5&access_token=TOPsecret01",
    "GET https://h/x?X-Amz-Signature=TOPsecret01&b=1",
    "cannot connect to https://user:TOPsecret01@host/path",
    "Incorrect API key provided: sk-TOPsecret01abc. You can find yours on the page",
    "headers {'Authorization': 'Bearer TOPsecret01'}",
    "headers {'x-api-key': 'TOPsecret01'}",
    "token hf_TOPsecret01 is invalid",
    "AIzaTOPsecret01abcdefgh is not allowed",
]


@pytest.mark.parametrize("said", KEYS)
def test_no_sentence_about_a_function_holds_a_key(tmp_path, said):
    def failing(images):
        raise RuntimeError(said)

    class Refused(Exception):
        status_code = 403

    def refused(images):
        raise Refused(said)

    def lost(images):
        raise ConnectionError(said)

    for number, function in enumerate((failing, refused, lost)):
        with Ledger(tmp_path / f"{number}.sqlite") as ledger, pytest.raises(KdistillError) as caught:
            ask(open_teacher(function), IMAGES, range(1), ledger, budget=1)
        if function is not lost:  # whose answer is only missing, which the log tells
            assert "***" in str(caught.value)
        assert "TOPsecret01" not in str(caught.value)


def test_numbers_in_sentences_are_those_of_the_questions(tmp_path):
    def nothing(images):
        return np.full((len(images), 3), np.nan)

    same = ImageSet([Image(f"{n}", array=np.full((1, 1, 3), n // 2, np.uint8)) for n in range(64)])
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        with pytest.raises(
            KdistillError, match="answered none of the 32 questions: the teacher's answer is not finite"
        ):
            ask(open_teacher(nothing), same, range(64), ledger, budget=64)
        with pytest.raises(KdistillError, match=r"answered none of the 32 questions: .* when it was asked before"):
            ask(open_teacher(nothing), same, range(64), ledger, budget=64)
        assert ledger.summary().spent == 32
