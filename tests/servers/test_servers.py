"""MLServer, Triton and a server in OpenAI's form: the vectors of the file asked directly, whatever happens between."""

import http.server
import json
import os
import random
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from kdistill.data import Image, ImageSet
from kdistill.teachers import Ledger, ask, open_teacher
from kdistill.teachers.ledger.database import NoLedger
from kdistill.teachers.services.opening import open_service

REPOSITORY = Path(__file__).parents[2]
COUNT, BATCH, AT_ONCE = 48, 2, 3


@pytest.fixture(scope="module")
def images() -> ImageSet:
    pixels = np.random.default_rng(2).integers(0, 256, (COUNT, 40, 36, 3), dtype=np.uint8)
    return ImageSet([Image(f"image{index}", array=array) for index, array in enumerate(pixels)])


@pytest.fixture(scope="module")
def expected(file, images) -> np.ndarray:
    return open_teacher(file, scaling="unit").embed(images)


def close(found: np.ndarray, expected: np.ndarray) -> None:
    # The same runtime in another version, and sums of another batch.
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_the_vectors_are_those_of_the_file(server, images, expected, tmp_path):
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        answers = ask(open_teacher(server.url, **server.options), images, range(COUNT), ledger, budget=None)
        close(answers.embeddings, expected)
        assert ledger.summary().spent == COUNT


def test_the_batch_that_the_server_takes_is_known(server):
    limits = {"mlserver": None, "triton": 16, "openai": 32}
    known = open_teacher(server.url, **server.options).largest_batch
    assert known == limits[server.kind] or (server.kind == "mlserver" and known >= COUNT)


def test_one_question_is_asked_by_the_command(server, images, tmp_path):
    photo = tmp_path / "photo.png"
    photo.write_bytes(images[0].encoded())
    flags = server.flags[1:]
    done = subprocess.run(
        [sys.executable, "-m", "kdistill.teachers", "try", server.url, str(photo), "--yes", *flags],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "dimension 16" in done.stdout


def test_a_storm_of_429_loses_and_repeats_nothing(server, images, expected, tmp_path):
    with Storm(server.url) as storm, Ledger(tmp_path / "ledger.sqlite") as ledger:
        # With so many turned away by chance, six times in a row is not rare.
        teacher = open_service(storm.url, **server.options, retries=30, sleep=lambda seconds: time.sleep(seconds / 200))
        options = {"budget": None, "batch_size": BATCH, "concurrency": AT_ONCE}
        answers = ask(teacher, images, range(COUNT), ledger, **options)
        close(answers.embeddings, expected)
        assert storm.refused > 0
        assert storm.served == COUNT // BATCH
        assert (ledger.summary().spent, ledger.summary().unknown) == (COUNT, 0)


def test_a_restart_of_the_server_is_lived_through(server, images, expected, tmp_path):
    teacher = open_teacher(server.url, **server.options, retries=8)
    with Ledger(tmp_path / "ledger.sqlite") as ledger:

        def restart() -> None:
            with Ledger(tmp_path / "ledger.sqlite", read_only=True) as watched:
                while watched.summary().answered < 3 * BATCH:
                    time.sleep(0.005)
                server.stop()
                stopped_at.append(watched.summary().answered)
            server.start()

        stopped_at: list[int] = []
        ledger.bind(teacher.name, teacher.view)
        thread = threading.Thread(target=restart)
        thread.start()
        options = {"budget": None, "batch_size": BATCH, "concurrency": 2}
        answers = ask(teacher, images, range(COUNT), ledger, **options)
        thread.join()
        close(answers.embeddings, expected)
        assert stopped_at[0] < COUNT
        summary = ledger.summary()
        assert (summary.answered, summary.unknown) == (COUNT, 0)
        assert COUNT <= summary.spent <= COUNT + 2 * 2 * BATCH


def test_the_main_job_is_killed_and_goes_on(server, file, tmp_path):
    workdir = tmp_path / "run"
    flags = [
        f"--workdir={workdir}",
        "--stages=ask,distill,evaluate",
        f"--query_budget={COUNT}",
        "--ask_batch_size=2",
        f"--concurrency={AT_ONCE}",
        "--steps=10",
        "--score_teacher=no",
        *server.flags,
    ]
    command = [sys.executable, str(REPOSITORY / "main.py"), *flags]
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    with open(tmp_path / "log", "ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        while process.poll() is None and answered(workdir / "ledger.sqlite") < 4:
            time.sleep(0.01)
        process.kill()
        process.wait()
        before = answered(workdir / "ledger.sqlite")
        done = subprocess.run(command, stdout=log, stderr=log, env=environment, check=False)
    assert done.returncode == 0, (tmp_path / "log").read_text()[-2000:]
    assert 0 < before < COUNT
    with Ledger(workdir / "ledger.sqlite", read_only=True) as ledger:
        summary = ledger.summary()
    # What the kill caught under way may have been charged, so that the budget does not reach as many others.
    assert summary.spent <= COUNT
    assert summary.answered >= COUNT - AT_ONCE * 2
    metrics = json.loads((workdir / "metrics.json").read_text())
    assert metrics["queries"] == summary.spent
    direct = tmp_path / "direct"
    flags[0] = f"--workdir={direct}"
    asked = [flag for flag in flags if not flag.startswith(("--teacher", "--concurrency", "--stages"))]
    subprocess.run(
        [*command[:2], *asked, "--stages=ask", f"--teacher={file}", "--teacher_scaling=unit"],
        check=True,
        capture_output=True,
        env=environment,
    )
    by_server, by_file = (vectors(folder / "answers.npz") for folder in (workdir, direct))
    shared = sorted(by_server.keys() & by_file.keys())
    assert len(shared) == summary.answered
    close(np.stack([by_server[name] for name in shared]), np.stack([by_file[name] for name in shared]))


def answered(ledger: Path) -> int:
    try:
        with Ledger(ledger, read_only=True) as opened:
            return opened.summary().answered
    except NoLedger:
        return 0


def vectors(file: Path) -> dict[str, np.ndarray]:
    with np.load(file) as arrays:
        return dict(zip(arrays["ids"].tolist(), arrays["embeddings"], strict=True))


class Storm:
    """Stands before a server and turns half of the questions away, without saying for how long."""

    def __init__(self, url: str) -> None:
        scheme, _, rest = url.partition("://")
        host, _, path = rest.partition("/")
        self.refused = self.served = 0
        storm, chance, lock = self, random.Random(4), threading.Lock()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.forward(None)

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with lock:
                    refused = chance.random() < 0.5
                    storm.refused += refused
                    storm.served += not refused
                if refused:
                    self.reply(429, b"{}")
                else:
                    self.forward(body)

            def forward(self, body: bytes | None) -> None:
                headers = {"Content-Type": "application/json"}
                request = urllib.request.Request(f"{scheme}://{host}{self.path}", body, headers)
                try:
                    with urllib.request.urlopen(request) as answer:
                        self.reply(answer.status, answer.read())
                except urllib.error.HTTPError as error:
                    with error:
                        self.reply(error.code, error.read())

            def reply(self, status: int, content: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/{path}"

    def __enter__(self) -> "Storm":
        threading.Thread(target=self._server.serve_forever, daemon=True, kwargs={"poll_interval": 0.02}).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
