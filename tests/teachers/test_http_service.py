"""The HTTP teacher against a real server on this machine that misbehaves in every documented way."""

import base64
import email.utils
import http.server
import io
import json
import socket
import threading
import time

import numpy as np
import PIL.Image
import pytest

from kdistill.data import Image, ImageSet
from kdistill.errors import ArgumentError, KdistillError
from kdistill.teachers import BadAnswer, Ledger, NoAnswer, NotAsked, ask, open_teacher
from kdistill.teachers.services.comparisons import HttpTeacher
from kdistill.teachers.services.transport import client


class Service:
    """Answers with mean colours; `script` holds what to do instead, one function of (handler, vectors) a request."""

    def __init__(self) -> None:
        self.script: list = []
        self.requests: list[dict] = []
        service = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                service.requests.append({"headers": dict(self.headers), "path": self.path, "images": body["images"]})
                files = [io.BytesIO(base64.b64decode(encoded)) for encoded in body["images"]]
                vectors = [np.asarray(PIL.Image.open(file)).mean(axis=(0, 1)).tolist() for file in files]
                step = service.script.pop(0) if service.script else send_json
                step(self, vectors)

            def log_message(self, *_) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/embed"
        threading.Thread(target=self.server.serve_forever, daemon=True, kwargs={"poll_interval": 0.02}).start()


def send(handler, status: int, body: bytes, kind: str = "application/json", **headers: str) -> None:
    handler.send_response(status)
    handler.send_header("Content-Type", kind)
    handler.send_header("Content-Length", str(len(body)))
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


def send_json(handler, vectors) -> None:
    send(handler, 200, json.dumps({"embeddings": vectors}).encode())


def send_raw(handler, vectors) -> None:
    send(handler, 200, np.asarray(vectors, "<f4").tobytes(), "application/octet-stream")


def status(code: int, **headers: str):
    return lambda handler, vectors: send(handler, code, b"{}", **headers)


def body(text: str, kind: str = "application/json"):
    return lambda handler, vectors: send(handler, 200, text.encode(), kind)


def half(handler, vectors) -> None:
    rows = list(range(0, len(vectors), 2))[::-1]
    send(handler, 200, json.dumps({"index": rows, "embeddings": [vectors[row] for row in rows]}).encode())


def cut_off(handler, vectors) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"embeddings": [')


def hang_up(handler, vectors) -> None:
    handler.connection.close()


def hang(handler, vectors) -> None:
    time.sleep(0.6)


def drip(handler, vectors) -> None:
    handler.send_response(200)
    handler.end_headers()
    for _ in range(12):
        handler.wfile.write(b" ")
        time.sleep(0.05)


@pytest.fixture(scope="module")
def running():
    service = Service()
    yield service
    service.server.shutdown()
    service.server.server_close()


@pytest.fixture
def service(running, monkeypatch) -> Service:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    running.script, running.requests = [], []
    return running


@pytest.fixture
def images() -> ImageSet:
    pixels = np.random.default_rng(1).integers(0, 256, (6, 4, 5, 3), dtype=np.uint8)
    return ImageSet([Image(f"image{index}", array=array) for index, array in enumerate(pixels)])


def truth(images) -> np.ndarray:
    return np.stack([image.pixels().mean(axis=(0, 1)) for image in images])


def teacher_of(service: Service, waits: list[float] | None = None, **options) -> HttpTeacher:
    return HttpTeacher(service.url, sleep=(waits if waits is not None else []).append, **options)


@pytest.mark.parametrize("step", [send_json, send_raw])
def test_both_answer_forms(service, images, step):
    service.script = [step]
    np.testing.assert_allclose(teacher_of(service).embed(images), truth(images), rtol=1e-6)


def test_files_are_sent_as_they_are_and_boxes_as_crops(service, images, tmp_path):
    path = tmp_path / "photo.jpg"
    PIL.Image.fromarray(images[0].pixels()).save(path)
    boxed = Image("boxed", array=images[1].pixels(), box=(1, 0, 3, 2))
    answers = teacher_of(service).embed([Image("photo", path=path), boxed])
    sent = [base64.b64decode(encoded) for encoded in service.requests[0]["images"]]
    assert sent[0] == path.read_bytes()
    np.testing.assert_allclose(answers[1], images[1].pixels()[0:2, 1:3].mean(axis=(0, 1)), rtol=1e-6)


def test_not_served_is_asked_again_with_growing_waits(service, images):
    service.script = [status(429), status(500), status(503)]
    waits: list[float] = []
    np.testing.assert_allclose(teacher_of(service, waits).embed(images), truth(images))
    assert len(service.requests) == 4
    for attempt, wait in enumerate(waits):
        first = [4, 1, 4][attempt]
        assert 0.8 * first * 2**attempt <= wait <= first * 2**attempt


@pytest.mark.parametrize(("value", "low", "high"), [("7", 7, 7), ("in 500 s", 400, 501), ("soon", 3.2, 4)])
def test_retry_after_is_honoured(service, images, value, low, high):
    if value == "in 500 s":
        value = email.utils.formatdate(time.time() + 500, usegmt=True)
    service.script = [status(429, Retry_After=value)]
    waits: list[float] = []
    teacher_of(service, waits).embed(images)
    assert len(waits) == 1
    assert low <= waits[0] <= high


def test_a_wait_of_an_hour_ends_the_run_free_of_charge(service, images):
    service.script = [status(429, Retry_After="3600")]
    with pytest.raises(NotAsked, match="left alone for 3600 seconds"):
        teacher_of(service).embed(images)


def test_refusals_cost_nothing(service, images, tmp_path):
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        for steps, message in [([status(401)], "401"), ([status(503)] * 3, "503 .* after 2 retries")]:
            service.script = list(steps)
            with pytest.raises(NotAsked, match=message):
                ask(teacher_of(service, retries=2), images, range(6), ledger, budget=6)
            assert ledger.summary().spent == 0
        assert not service.script


def test_a_closed_port_costs_nothing(service, images):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    waits: list[float] = []
    teacher = HttpTeacher(f"http://127.0.0.1:{port}/embed", retries=2, sleep=waits.append)
    with pytest.raises(NotAsked, match="cannot be reached"):
        teacher.embed(images)
    assert len(waits) == 2


def test_a_redirect_is_not_followed(service, images):
    service.script = [status(307, Location="http://127.0.0.1:1/elsewhere")]
    with pytest.raises(NotAsked, match="307"):
        teacher_of(service).embed(images)


@pytest.mark.parametrize("step", [hang, drip, hang_up, cut_off, status(502), status(504)])
def test_what_may_have_been_charged_counts_and_is_asked_again(service, images, tmp_path, step):
    service.script = [step]
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        teacher = teacher_of(service, timeout=0.3)
        answers = ask(teacher, images, range(3), ledger, budget=6, batch_size=3)
        assert answers.embeddings.shape == (3, 3)
        assert len(service.requests) == 2
        assert answers.spent == ledger.summary().spent == 6


def test_half_a_batch_is_kept_and_the_rest_asked_again(service, images, tmp_path):
    service.script = [half]
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        answers = ask(teacher_of(service), images, range(4), ledger, budget=6, batch_size=4)
        np.testing.assert_allclose(answers.embeddings, truth(images)[:4], rtol=1e-6)
        assert [len(request["images"]) for request in service.requests] == [4, 2]
        assert answers.spent == 6


@pytest.mark.parametrize(
    "step",
    [
        body("<html>Bad day</html>", "text/html"),
        body("[1, 2]"),
        body('{"embeddings": [[1, 2], [3, 4], [5, 6]]}'),
        body('{"embeddings": [[1, 2], [3, 4], [5, 6], [7, 8, 9]]}'),
        body('{"embeddings": [["1"], ["2"], ["3"], ["4"]]}'),
        body('{"embeddings": [[true], [true], [true], [true]]}'),
        body('{"embeddings": [null, null, null, null]}'),
        body('{"embeddings": [[[1]], [[1]], [[1]], [[1]]]}'),
        body('{"embeddings": [[1], [2]], "index": [0, 4]}'),
        body('{"embeddings": [[1], [2]], "index": [0, 0]}'),
        body('{"embeddings": [[1], [2]], "index": [0]}'),
        body("[" * 100_000),
        body("0123456789", "application/octet-stream"),
        body("", "application/octet-stream"),
        body("x" * 5000),
    ],
)
def test_garbage_is_recorded_as_bad_and_ends_the_run(service, images, tmp_path, step, monkeypatch):
    monkeypatch.setattr(client, "MAX_ANSWER_BYTES", 200_000)
    service.script = [step]
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        with pytest.raises(BadAnswer):
            ask(teacher_of(service), images, range(4), ledger, budget=6)
        summary = ledger.summary()
        assert (summary.bad, summary.spent, summary.answered) == (4, 4, 0)


def test_an_endless_answer_is_cut_off(service, images, monkeypatch):
    monkeypatch.setattr(client, "MAX_ANSWER_BYTES", 100_000)
    service.script = [body(" " * 200_000)]
    with pytest.raises(BadAnswer, match="more than"):
        teacher_of(service).embed(images)


def test_another_dimension_and_nan_never_enter_the_ledger(service, images, tmp_path):
    service.script = [send_json, body('{"embeddings": [[1, 2]]}'), body('{"embeddings": [[1, NaN, 2], [1, 2, 3]]}')]
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        ask(teacher_of(service), images, [0, 1], ledger, budget=6)
        with pytest.raises(BadAnswer, match=r"2 numbers a question, but the ledger .* holds answers of 3"):
            ask(teacher_of(service), images, [2], ledger, budget=6)
        answers = ask(teacher_of(service), images, [3, 4], ledger, budget=6)
        assert answers.indices.tolist() == [4]
        summary = ledger.summary()
        assert (summary.answered, summary.bad, summary.spent) == (3, 2, 5)


def test_a_null_is_a_bad_answer_of_that_image_only(service, images, tmp_path):
    service.script = [body('{"embeddings": [[1, 2], null]}')]
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        answers = ask(teacher_of(service), images, [0, 1], ledger, budget=6)
        assert (answers.indices.tolist(), [name for name, _ in answers.skipped]) == ([0], ["image1"])


def test_three_hangs_in_a_row_end_the_run(service, images, tmp_path):
    service.script = [status(504)] * 3
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        with pytest.raises(KdistillError, match="no usable answer to 3 batches"):
            ask(teacher_of(service), images, range(6), ledger, budget=6, batch_size=1)
        assert (ledger.summary().spent, ledger.summary().unknown) == (3, 3)


def test_no_answer_carries_what_arrived(service, images):
    service.script = [half]
    with pytest.raises(NoAnswer) as caught:
        teacher_of(service).embed(images)
    assert caught.value.rows.tolist() == [4, 2, 0]
    np.testing.assert_allclose(caught.value.embeddings, truth(images)[[4, 2, 0]])


def test_headers_come_from_the_environment_and_stay_out_of_names(service, images, monkeypatch):
    monkeypatch.setenv("TEACHER_KEY", "Bearer s3cret\n")
    teacher = open_teacher(service.url + "?key=s3cret", headers=["Authorization=TEACHER_KEY"])
    teacher.embed(images)
    assert service.requests[0]["headers"]["Authorization"] == "Bearer s3cret"
    assert service.requests[0]["path"] == "/embed?key=s3cret"
    assert "s3cret" not in teacher.name
    assert teacher.name != open_teacher(service.url).name


@pytest.mark.parametrize(
    ("url", "headers", "message"),
    [
        ("http://host/x", ["Authorization"], "must be written Header=ENVIRONMENT_VARIABLE"),
        ("http://host/x", ["Authorization=NOT_SET_ANYWHERE"], "NOT_SET_ANYWHERE .* is empty"),
        ("http://user:pass@host/x", [], "by a header instead"),
        ("http:///x", [], "names no host"),
    ],
)
def test_impossible_addresses_and_headers(url, headers, message):
    with pytest.raises(ArgumentError, match=message):
        open_teacher(url, headers=headers)


def test_a_header_value_of_two_lines_is_refused_without_showing_it(monkeypatch):
    monkeypatch.setenv("TEACHER_KEY", "s3cret\r\nX-Other: 1")
    with pytest.raises(ArgumentError) as caught:
        open_teacher("http://host/x", headers=["Authorization=TEACHER_KEY"])
    assert "s3cret" not in str(caught.value)
