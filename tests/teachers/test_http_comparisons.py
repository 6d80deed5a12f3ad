"""Orders and preferences from a real server in a process of its own."""

import multiprocessing
import socket
from pathlib import Path

import numpy as np
import pytest

from kdistill.data import Image, ImageSet
from kdistill.errors import KdistillError
from kdistill.preferences.orders import as_order_teacher, ask_orders
from kdistill.preferences.pairs import as_preference_teacher, ask_preferences
from kdistill.teachers import BadAnswer, Ledger, open_teacher


def serve(listener: socket.socket) -> None:
    """Compares by brightness; /PATH names how it misbehaves."""
    import base64
    import http.server
    import io
    import json

    import PIL.Image

    def grey(encoded: str) -> float:
        return float(np.asarray(PIL.Image.open(io.BytesIO(base64.b64decode(encoded)))).mean())

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            levels = [grey(encoded) for encoded in body["images"]]
            assert len(set(body["images"])) == len(levels), "an image was sent twice"
            if "orders" in body:
                key = "orders"
                found = [
                    sorted(range(len(row) - 1), key=lambda place, row=row: abs(levels[row[1 + place]] - levels[row[0]]))
                    for row in body["orders"]
                ]
            else:
                key = "preferences"
                found = [
                    1.0 if abs(levels[a] - levels[q]) < abs(levels[b] - levels[q]) else 0.25
                    for q, a, b in body["preferences"]
                ]
            answer = {key: found}
            if self.path == "/null":
                found[0] = None
            elif self.path == "/short":
                found[0] = found[0][:-1] if key == "orders" else [0.5, 0.5]
            elif self.path == "/twice":
                found[0] = [0] * len(found[0]) if key == "orders" else 2.0
            elif self.path == "/half":
                answer = {key: found[1:2], "index": [1]} if len(found) > 1 else answer
            elif self.path == "/embeddings":
                answer = {"embeddings": found}
            encoded = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(encoded)))
            self.end_headers()
            self.wfile.write(encoded)

        def log_message(self, *_) -> None:
            pass

    server = http.server.HTTPServer(listener.getsockname(), Handler, bind_and_activate=False)
    server.socket.close()
    server.socket = listener
    server.serve_forever()


@pytest.fixture(scope="module")
def address():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        process = multiprocessing.get_context("spawn").Process(target=serve, args=(listener,), daemon=True)
        process.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        process.kill()
        process.join()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def pool() -> ImageSet:
    """Grey images of brightness 0, 10, 200, 60, 40, 50."""
    levels = (0, 10, 200, 60, 40, 50)
    return ImageSet([Image(f"i{n}", array=np.full((4, 4, 3), level, np.uint8)) for n, level in enumerate(levels)])


def orders_of(url: str, pool: ImageSet, ledger_file: Path, budget: int = 3):
    teacher = as_order_teacher(open_teacher(url, retries=0))
    queries, candidates = np.array([0, 3, 2]), np.array([[1, 2, 4], [5, 0, 2], [0, 1, 4]])
    with Ledger(ledger_file) as ledger:
        found = ask_orders(teacher, pool, queries, candidates, ledger, budget=budget)
        return found, ledger.summary()


def preferences_of(url: str, pool: ImageSet, ledger_file: Path):
    teacher = as_preference_teacher(open_teacher(url, retries=0))
    with Ledger(ledger_file) as ledger:
        found = ask_preferences(teacher, pool, np.array([[0, 1, 2], [0, 2, 1]]), ledger, budget=2)
        return found, ledger.summary()


def test_orders_and_preferences_arrive(address, pool, tmp_path):
    found, summary = orders_of(f"{address}/right", pool, tmp_path / "orders.sqlite")
    assert found.candidates.tolist() == [[1, 4, 2], [5, 0, 2], [4, 1, 0]]
    assert (summary.view, summary.spent) == ("order/3/encoded", 3)
    preferred, summary = preferences_of(f"{address}/right", pool, tmp_path / "pairs.sqlite")
    assert preferred.probability.tolist() == [1.0, 0.25]
    assert (summary.view, summary.spent) == ("preference/encoded", 2)


@pytest.mark.parametrize("fault", ["null", "short", "twice"])
def test_one_wrong_answer_spoils_no_other(fault, address, pool, tmp_path):
    found, summary = orders_of(f"{address}/{fault}", pool, tmp_path / "orders.sqlite")
    assert found.candidates.tolist() == [[5, 0, 2], [4, 1, 0]]
    assert (summary.bad, summary.spent) == (1, 3)
    preferred, summary = preferences_of(f"{address}/{fault}", pool, tmp_path / "pairs.sqlite")
    assert preferred.probability.tolist() == [0.25]
    assert (summary.bad, summary.spent) == (1, 2)


def test_a_part_of_a_batch_is_kept(address, pool, tmp_path):
    found, summary = orders_of(f"{address}/half", pool, tmp_path / "orders.sqlite")
    assert found.queries.tolist() == [3]
    assert (summary.answered, summary.unknown, summary.spent) == (1, 2, 3)


def test_another_kind_of_answer_ends_the_run(address, pool, tmp_path):
    with pytest.raises(BadAnswer, match='no list "orders"'):
        orders_of(f"{address}/embeddings", pool, tmp_path / "orders.sqlite")
    with pytest.raises(KdistillError):
        preferences_of(f"{address}/embeddings", pool, tmp_path / "pairs.sqlite")
