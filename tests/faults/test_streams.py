"""A command's output goes anywhere: to terminals that know ASCII only, to readers that went away, to nowhere."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BEFORE = "import sys; from kdistill.errors import KdistillError, run_command\n"
NAME = "größe \\udcff.jpg"


def run(code: str, shell: str = "{}", **environment: str) -> subprocess.CompletedProcess[bytes]:
    command = shell.format(f'"{sys.executable}" -c "$CODE"')
    variables = {**os.environ, "PYTHONPATH": str(ROOT), "CODE": BEFORE + code, **environment}
    return subprocess.run(["bash", "-c", command], env=variables, capture_output=True, check=False)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_any_name_can_be_printed(encoding):
    done = run(f"run_command(lambda: print('{NAME}'))", PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.endswith(b"\\udcff.jpg\n")
    failed = run(f"def main(): raise KdistillError('{NAME}')\nrun_command(main)", PYTHONIOENCODING=encoding)
    assert failed.returncode == 1
    assert failed.stderr.startswith(b"error: gr")
    assert failed.stderr.count(b"\n") == 1


MANY = "def main():\n for row in range(200_000): print('row', row)\n"


@pytest.mark.parametrize(
    "code",
    [
        MANY + "run_command(main)",
        "run_command(lambda: print('one\\ntwo\\nthree'))",  # reaches the pipe at the end only
        "def main():\n print('row')\n sys.stdout.flush()\n raise SystemExit(3)\nrun_command(main)",
    ],
)
def test_a_reader_that_goes_away_ends_a_command_without_a_word(code):
    done = run(code, "{} | head -1")
    assert done.stderr == b""
    gone = run("import time; time.sleep(0.3)\n" + code, "set -o pipefail; {} | true")
    assert gone.stderr == b""
    assert gone.returncode in (141, 3)


def test_closed_and_full_outputs_end_in_a_status():
    assert run("run_command(lambda: print('x'))", "{} >&- 2>&-").returncode == 0
    code = "from kdistill.console.quiet import quiet\ndef main():\n with quiet(): print('x')\nrun_command(main)"
    assert run(code, "{} >&- 2>&-").returncode == 0
    full = run("run_command(lambda: print('x'))", "{} > /dev/full")
    assert full.returncode == 1
    assert full.stderr.startswith(b"error: No space left on device")
