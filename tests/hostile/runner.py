"""Runs the cases of modules, each as a command would be run, and prints one line of JSON for each."""

import contextlib
import importlib
import io
import json
import os
import sys
import tempfile
import time
from pathlib import Path

from hostile_case import MARKER

from kdistill.errors import run_command


def peak_mib() -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def measure(name: str, case, marker: str) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as folder:
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
        said, began = io.StringIO(), time.process_time()
        status: object = 0
        home = os.getcwd()
        try:
            with contextlib.redirect_stderr(said):
                run_command(lambda: case(Path(folder)))
        except SystemExit as end:
            status = end.code
        except BaseException as error:
            status = f"{type(error).__name__}: {error}"
        os.chdir(home)
        return {
            "name": name,
            "status": status,
            "said": said.getvalue(),
            "ran": (Path(folder) / marker).exists(),
            "peak_mib": peak_mib(),
            "seconds": time.process_time() - began,
        }


def main(modules: list[str]) -> None:
    for module in modules:
        for name, case in importlib.import_module(module).CASES.items():
            print(json.dumps({"begins": name}), flush=True)
            print(json.dumps(measure(name, case, MARKER)), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
