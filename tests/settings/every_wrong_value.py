"""Runs the command line with one wrong value after another; prints what came of each as JSON. TensorFlow stays out."""

import io
import json
import os
import sys
import time

import main

main.define_flags()


def outcome(arguments: list[str]) -> dict[str, object]:
    """Runs in a child, since flags of absl are parsed once in a process."""
    read, write = os.pipe()
    started = time.monotonic()
    child = os.fork()
    if child == 0:
        os.close(read)
        sys.argv = ["main.py", *arguments]
        sys.stderr = sys.stdout = text = io.StringIO()
        status: object = 0
        try:
            main.app.run(main.main, sys.argv, flags_parser=main._parse)
        except SystemExit as end:
            status = end.code
        answer = {"status": status, "text": text.getvalue(), "tensorflow": "tensorflow" in sys.modules}
        os.write(write, json.dumps(answer).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as answer:
        found = json.loads(answer.read() or "{}")
    os.waitpid(child, 0)
    return {**found, "seconds": time.monotonic() - started}


print(json.dumps([outcome(arguments) for arguments in json.loads(sys.stdin.read())]))
