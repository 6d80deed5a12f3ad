"""Processes that have imported TensorFlow and Keras and nothing of ours: what a saved file needs shows in them."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
Fresh = Callable[..., str]
"""fresh(code, *arguments): runs the code with these in sys.argv[1:]; returns what it printed, fails as it fails."""


@pytest.fixture(scope="session")
def fresh() -> Iterator[Fresh]:
    """Starts one process, which imports the frameworks once and forks a child for every call."""
    command = [sys.executable, str(Path(__file__))]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, cwd=REPOSITORY, text=True
    ) as process:

        def run(code: str, *arguments: object) -> str:
            with tempfile.TemporaryDirectory() as folder:
                process.stdin.write(json.dumps([code, [str(argument) for argument in arguments], folder]) + "\n")
                process.stdin.flush()
                status = process.stdout.readline().strip()
                said = {name: (Path(folder) / name).read_text() for name in ("stdout", "stderr")}
            assert status == "0", said["stderr"]
            return said["stdout"]

        yield run
        process.kill()  # it holds nothing, and frameworks take seconds to go by themselves


@pytest.fixture
def fresh_module(fresh: Fresh) -> Callable[..., str]:
    """fresh_module(name, *arguments): as `python -m name arguments`, without the seconds that frameworks take."""
    code = "import runpy, sys; del sys.argv[0]; runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)"
    return lambda name, *arguments: fresh(code, name, *arguments)


def _serve() -> None:
    """Answers each line of [code, arguments, folder] with the exit status of a child that ran the code."""
    import keras  # noqa: F401
    import tensorflow  # noqa: F401

    assert "kdistill" not in sys.modules
    for line in sys.stdin:
        code, arguments, folder = json.loads(line)
        child = os.fork()
        if child == 0:
            for number, name in ((1, "stdout"), (2, "stderr")):
                os.dup2(os.open(f"{folder}/{name}", os.O_WRONLY | os.O_CREAT), number)
            sys.argv = ["-c", *arguments]
            status = 1
            try:
                exec(compile(code, "<fresh>", "exec"), {"__name__": "__main__"})
                status = 0
            except BaseException:
                sys.excepthook(*sys.exc_info())
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    _serve()
