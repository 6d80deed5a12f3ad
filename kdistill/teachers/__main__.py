"""`python -m kdistill.teachers status|export|import|verify LEDGER`: what was spent, a table of it, a check.

`try TEACHER PHOTO` asks one question; `form NAME` prints a shipped form of services, to write another one from.
"""

import argparse
import dataclasses
import datetime
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from kdistill.errors import KdistillError, run_command
from kdistill.teachers.counted import counted
from kdistill.teachers.ledger.ledger import Ledger
from kdistill.teachers.ledger.records import LedgerSummary
from kdistill.teachers.ledger.transfer import export_table, import_table, verify
from kdistill.teachers.services.forms.form import form_text, shipped
from kdistill.teachers.trying import add_arguments, try_teacher


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns the exit status: 0, 1 for a fault, 2 for wrong arguments."""
    options = _parser().parse_args(arguments)
    try:
        if options.command == "try":
            return try_teacher(options)
        if options.command == "form":
            print(form_text(options.form), end="")
            return 0
        with Ledger(options.ledger, read_only=options.command != "import") as ledger:
            return _run(options, ledger)
    except KdistillError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m kdistill.teachers", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, what in {
        "status": "show what was asked, answered and spent",
        "export": "write all answers as a table",
        "import": "add the answers of an exported table (they count nothing here)",
        "verify": "check every row; exit status 1 when one is damaged",
    }.items():
        command = commands.add_parser(name, help=what, description=what)
        command.add_argument("ledger", help="the ledger's file, or its postgresql+psycopg:// address")
        if name in ("export", "import"):
            command.add_argument("table", type=Path, help=".npz")
        if name == "status":
            command.add_argument("--json", action="store_true", help="print one JSON object")
    what = "ask one question and show what is sent and what comes back; it may cost money"
    add_arguments(commands.add_parser("try", help=what, description=what))
    what = "print a shipped form of services (docs/services.md)"
    commands.add_parser("form", help=what, description=what).add_argument("form", help=", ".join(shipped()))
    return parser


def _run(options: argparse.Namespace, ledger: Ledger) -> int:
    if options.command == "status":
        summary = ledger.summary()
        print(json.dumps(dataclasses.asdict(summary)) if options.json else _status(summary))
    elif options.command == "export":
        print(f"{counted(export_table(ledger, options.table), 'answer')} written to {options.table}")
    elif options.command == "import":
        print(f"{counted(import_table(ledger, options.table), 'new answer')} from {options.table}")
    else:
        faults = verify(ledger)
        for fault in faults:
            print(fault)
        print(counted(len(faults), "fault") if faults else "every row is sound")
        return 1 if faults else 0
    return 0


def _status(summary: LedgerSummary) -> str:
    if summary.teacher is None:
        return "no question was asked yet"
    lines = {
        "teacher": summary.teacher,
        "view": summary.view,
        "dimension": summary.dimension or "not known yet",
        "spent": f"{counted(summary.spent, 'question')}, cost {summary.cost:.2f}",
        "answered": f"{summary.answered}" + (f" ({summary.imported} imported)" if summary.imported else ""),
        "in flight": summary.in_flight,
        "unknown": f"{summary.unknown} (perhaps charged, no answer; asked again by the next run)",
        "bad": f"{summary.bad} (answered, but not with a usable vector)",
        "first asked": _time(summary.first_asked_at),
        "last asked": _time(summary.last_asked_at),
    }
    for name, part in summary.accounts.items():
        lines[f"  {name}"] = (
            f"{counted(part.spent, 'question')}, cost {part.cost:.2f}: {part.answered} answered, "
            f"{part.in_flight} in flight, {part.unknown} unknown, {part.bad} bad"
        )
    return "\n".join(f"{name:12} {value}" for name, value in lines.items())


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "never"
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat(" ", "seconds")


if __name__ == "__main__":
    run_command(main)
