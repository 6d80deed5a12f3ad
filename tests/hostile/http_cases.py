"""Services that answer what they like."""

import contextlib
import gzip
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from hostile_case import Cases

from kdistill.data import Image, ImageSet
from kdistill.teachers import Ledger, ask, open_teacher

CASES = Cases()


@contextlib.contextmanager
def service(status: int, headers: dict[str, str], content: bytes, repeat: int) -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            with contextlib.suppress(OSError):
                for _ in range(repeat):
                    self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


JSON = {"Content-Type": "application/json"}
MIB = 1 << 20
ANSWERS: dict[str, tuple[int, dict[str, str], bytes, int]] = {
    "http: 1 GiB of json": (200, JSON, b'{"embeddings": [' + b"1," * MIB, 512),
    "http: a million empty lists": (200, JSON, b'{"embeddings": [' + b"[]," * (5 * MIB) + b"[]]}", 1),
    "http: nested 10^6 times": (200, JSON, b"[" * 1_000_000, 1),
    "http: gzip bomb": (200, JSON | {"Content-Encoding": "gzip"}, gzip.compress(bytes(300 * MIB), 9), 1),
    "http: number of 10^6 digits": (200, JSON, b'{"embeddings": [[' + b"9" * 1_000_000 + b"]]}", 1),
    "http: infinite numbers": (200, JSON, b'{"embeddings": [[1e999, NaN]]}', 1),
    "http: text for vectors": (200, JSON, b'{"embeddings": ["__import__(\'os\')"]}', 1),
    "http: objects for vectors": (200, JSON, b'{"embeddings": [{"0": 1}]}', 1),
    "http: vectors of vectors": (200, JSON, b'{"embeddings": [[[1, 2], [3, 4]]]}', 1),
    "http: no json": (200, JSON, b"\xff\xfe\x00", 1),
    "http: page": (200, {"Content-Type": "text/html"}, b"<html>", 1),
    "http: nothing": (200, JSON, b"", 1),
    "http: bytes that are no rows": (200, {"Content-Type": "application/octet-stream"}, b"abc", 1),
    "http: rows without an end": (200, {"Content-Type": "application/octet-stream"}, bytes(MIB), 100),
    "http: redirect to a file": (302, {"Location": "file:///etc/passwd"}, b"", 1),
    "http: left alone for 10^30 seconds": (429, {"Retry-After": "9" * 30}, b"", 1),
    "http: left alone for a superscript": (400, {"Retry-After": "\u00b2"}, b"", 1),
    "http: length that is none": (200, JSON | {"Content-Length": "many"}, b"{}", 1),
    "http: 1 GiB of error": (400, JSON, b'{"error": "' + b"x" * MIB, 1024),
    "http: error nested 10^5 times": (400, JSON, b'{"error": ' * 100_000, 1),
    "http: error of a million entries": (400, JSON, b'{"errors": [' + b'{"message": ""},' * MIB + b"{}]}", 1),
    "http: error of open tags": (400, {"Content-Type": "text/html"}, b"<" * 65_536, 1),
    "http: error of scripts": (400, {"Content-Type": "text/html"}, b"<script " * 8192, 1),
    "http: error of control characters": (400, {}, b"\x1b[2J\x00\r\nerror: all is well\n" * 100, 1),
    "http: error of noise": (400, {}, bytes(range(256)) * 256, 1),
    "http: error that is a gzip bomb": (400, {"Content-Encoding": "gzip"}, gzip.compress(bytes(300 * MIB), 9), 1),
    "http: error status of a page": (520, {"Content-Type": "text/html"}, b"<html><h1>unknown</h1>" * 1000, 1),
    "http: redirect to itself": (307, {"Location": "/"}, b"", 1),
    "http: left alone until a date that is none": (429, {"Retry-After": "Mon, 99 Xyz 99999 99:99:99 GMT"}, b"", 1),
    "http: limit of a million digits": (429, {"x-ratelimit-reset": "9" * 60_000}, b"", 1),
    "http: limit of many units": (429, {"x-ratelimit-reset": "1h" * 30_000}, b"", 1),
    "http: left alone for nan": (503, {"Retry-After": "nan", "Retry-After-Ms": "inf"}, b"", 1),
    "http: length below zero": (400, {"Content-Length": "-5"}, b"{}", 1),
    "http: no content": (204, {}, b"", 1),
    "http: index of numbers that are none": (200, JSON, b'{"embeddings": [[1]], "index": [1e999]}', 1),
    "http: index of an object": (200, JSON, b'{"embeddings": [[1]], "index": {"0": 0}}', 1),
    "http: twice the same key": (200, JSON, b'{"embeddings": [[1]], "embeddings": []}', 1),
}


@CASES.each(ANSWERS)
def ask_service(folder: Path, answer: tuple[int, dict[str, str], bytes, int]) -> None:
    images = ImageSet([Image("a", array=np.zeros((2, 2, 3), np.uint8))])
    with service(*answer) as url, Ledger(folder / "ledger.sqlite") as ledger:
        ask(open_teacher(url, timeout=20, retries=0), images, [0], ledger, budget=1)
