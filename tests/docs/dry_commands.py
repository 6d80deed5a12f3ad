"""Reads commands as the programs themselves would and stops before anything is done; prints what each says as JSON.

Standard input: [{"words": [...], "elided": bool}, ...]; the current folder holds the files that pages show.
Output: a sentence for each command, empty where it can be given like this. A run is read by the real flag parser with
all checks of settings, a module by its own argument parser.
"""

import argparse
import contextlib
import io
import json
import os
import runpy
import sys
from collections.abc import Callable

import main
from kdistill.errors import KdistillError
from kdistill.settings.checks import check


class Parsed(Exception):
    """A module's arguments were understood."""


def run_of_stages(words: list[str], elided: bool) -> str:
    """Reads the flags of a run; of a command that leaves out some by `...` each is read, not what they are together.

    In a child, since flags of absl are parsed once in a process.
    """

    def checked(settings: main.Settings, stages: list[str], redo: bool) -> None:
        for stage in stages:
            main.STAGES[stage]
        if not elided:
            check(settings)

    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        main.run_stages = checked
        if elided:
            main.check_effects = lambda *_: []
        sys.argv = ["main.py", *words]
        answer = said(lambda: main.app.run(main.main, main._with_shipped(sys.argv), flags_parser=main._parse))
        os.write(write, answer.encode()[:2000])
        os._exit(0)
    os.close(write)
    with os.fdopen(read, encoding="utf-8", errors="replace") as answer_of_the_child:
        found = answer_of_the_child.read()
    _, status = os.waitpid(child, 0)
    return found if status == 0 else f"the parser ended with status {status}: {found}"


def module(words: list[str]) -> str:
    """Reads the arguments of `python -m MODULE ...`."""

    def parsed(parser: argparse.ArgumentParser, *arguments: object, **options: object) -> None:
        real(parser, *arguments, **options)
        raise Parsed

    real = argparse.ArgumentParser.parse_args
    argparse.ArgumentParser.parse_args = parsed
    sys.argv = words
    try:
        return said(lambda: runpy.run_module(words[0], run_name="__main__", alter_sys=True))
    finally:
        argparse.ArgumentParser.parse_args = real


def said(run: Callable[[], object]) -> str:
    """Returns what a program says before it ends in an error; empty without one."""
    text = io.StringIO()
    try:
        with contextlib.redirect_stderr(text), contextlib.redirect_stdout(io.StringIO()):
            run()
    except (Parsed, SystemExit) as end:
        if isinstance(end, SystemExit) and end.code not in (0, None):
            return text.getvalue().strip() or str(end.code)
    except (KdistillError, ImportError) as error:
        return str(error)
    return ""


if __name__ == "__main__":
    main.define_flags()
    asked = json.load(sys.stdin)
    modules = [one["words"][1:2] == ["-m"] for one in asked]
    # Runs first: what modules import, TensorFlow among it, is then no part of the children.
    runs = {place: run_of_stages(**one) for place, one in enumerate(asked) if not modules[place]}
    others = {place: module(one["words"][2:]) for place, one in enumerate(asked) if modules[place]}
    print(json.dumps([{**runs, **others}[place] for place in range(len(asked))]))
