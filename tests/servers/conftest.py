"""Servers of models on loopback, started and stopped by the tests; they live in an environment of their own."""

import json
import os
import signal
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest
from encoder import DIMENSION, SIDE, write_encoder

HERE = Path(__file__).parent
ENVIRONMENT = Path(os.environ.get("SERVERS_VENV", HERE.parents[1] / ".venv-servers"))
START_SECONDS = 90


class Server:
    """One server of the encoder.

    Attributes:
        url: that `--teacher` takes.
        options: what else `open_teacher` needs to be told.
        flags: the same as flags.
    """

    def __init__(self, kind: str, file: Path, folder: Path) -> None:
        self.kind, self.folder, self.port = kind, folder, _free_port()
        host, python = f"http://127.0.0.1:{self.port}", str(ENVIRONMENT / "bin" / "python")
        if kind == "openai":
            self.url, self.ready = f"{host}/v1/embeddings", f"{host}/v1/embeddings"
            self.options = {"api": "openai", "model": "encoder"}
            self._command = [python, str(HERE / "openai_server.py"), str(file), str(self.port)]
        else:
            self.url, self.ready = f"{host}/v2/models/encoder", f"{host}/v2/models/encoder/ready"
            self.options = {"scaling": "unit"}
            self._command = [python, str(HERE / "triton_server.py"), str(file), str(self.port), str(folder / "triton")]
        if kind == "mlserver":
            self._command = [str(ENVIRONMENT / "bin" / "mlserver"), "start", str(folder)]
            self._write_settings(file)
        self.flags = [f"--teacher={self.url}", *(f"--teacher_{name}={value}" for name, value in self.options.items())]
        self._process: subprocess.Popen | None = None

    def start(self) -> None:
        with open(self.folder / "server.log", "ab") as log:
            environment = os.environ | {"PYTHONPATH": str(HERE), "no_proxy": "127.0.0.1"}
            self._process = subprocess.Popen(
                self._command, env=environment, stdout=log, stderr=log, cwd=self.folder, start_new_session=True
            )
        ends = time.monotonic() + START_SECONDS
        while not self._is_ready():
            told = (self.folder / "server.log").read_text(errors="replace")[-2000:]
            assert self._process.poll() is None, told
            assert time.monotonic() < ends, told
            time.sleep(0.1)

    def stop(self) -> None:
        """Kills it with all its processes, whatever they do."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(self.ready, timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False

    def _write_settings(self, file: Path) -> None:
        settings = {
            "host": "127.0.0.1",
            "http_port": self.port,
            "grpc_port": _free_port(),
            "metrics_port": _free_port(),
            "parallel_workers": 0,
            "debug": False,
        }
        model = {
            "name": "encoder",
            "implementation": "mlserver_encoder.Encoder",
            "parameters": {"uri": str(file)},
            "inputs": [{"name": "pixel_values", "datatype": "FP32", "shape": [-1, 3, SIDE, SIDE]}],
            "outputs": [{"name": "embedding", "datatype": "FP32", "shape": [-1, DIMENSION]}],
        }
        (self.folder / "settings.json").write_text(json.dumps(settings))
        (self.folder / "model-settings.json").write_text(json.dumps(model))


def _free_port() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return unused.getsockname()[1]


@pytest.fixture(scope="session")
def file(tmp_path_factory) -> Path:
    return write_encoder(tmp_path_factory.mktemp("encoder") / "model.onnx")


@pytest.fixture(scope="module", params=["mlserver", "triton", "openai"])
def server(request, file, tmp_path_factory):
    server = Server(request.param, file, tmp_path_factory.mktemp(request.param))
    server.start()
    yield server
    server.stop()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
