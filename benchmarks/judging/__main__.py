"""Do a hundred held-out answers of the teacher judge students as the labels of a test set do?

    python -m benchmarks.judging --grocery_dir=DIR --student_weights=FILE --omniglot_dir=DIR --json=FILE

Students of many methods, numbers of images, seeds, lengths of training and sizes are trained as `benchmarks.methods`
trains them. Each is judged by the labels of the test images, and by overlap@10 with the teacher's answers about 100
photos of the validation images, whose labels are not used. Ten of them are judged on the way as well: how far lies the
checkpoint that held-out answers choose below the best one by labels?

Each finished student is a line of judging_PROBLEM.jsonl in --results, so that the same command continues after a kill
or after --max_minutes and repeats nothing. Figures: see `figures_of` in benchmarks/judging/report.py, and
docs/evaluation.md.
"""

import argparse
import dataclasses
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.judging.cases import Case, cases_of
from benchmarks.long_runs import RESULTS, Pace, parser_of
from kdistill.console.progress import progress_bar
from kdistill.console.quiet import quiet
from kdistill.errors import ArgumentError, run_command
from kdistill.files.whole import write_json

if TYPE_CHECKING:
    from benchmarks.methods.data import Problem


def main() -> None:
    """Parses the command line, trains what is left, writes."""
    arguments = _parser().parse_args()
    given = {"grocery": arguments.grocery_dir, "omniglot": arguments.omniglot_dir}
    problems = [name for name, folder in given.items() if folder is not None]
    if arguments.smoke:
        problems = ["generated"]
    if not problems:
        raise ArgumentError("--grocery_dir or --omniglot_dir is needed: the folder of the images")
    with tempfile.TemporaryDirectory() as folder:
        results = arguments.results or (Path(folder) if arguments.smoke else RESULTS)
        complete = _train(arguments, problems, results)
        _write(arguments, problems, results)
    if not complete:
        print("not all students are trained; start the same command again to continue", file=sys.stderr)


def _train(arguments: argparse.Namespace, problems: list[str], results: Path) -> bool:
    """Trains what is left; returns whether that was all."""
    pace = Pace(arguments.max_minutes, runs_a_process=15)
    for name in problems:
        file = results / f"judging_{name}.jsonl"
        done = {row["case"] for row in _rows(file)}
        left = [case for case in cases_of(name) if _name(case) not in done]
        opened: tuple[int, Problem] | None = None
        for case in progress_bar(left, total=len(left), description=f"students of {name}", unit="student"):
            if not pace.goes_on():
                return False
            if opened is None or opened[0] != case.image_size:
                opened = case.image_size, _problem(arguments, name, case.image_size)
            from benchmarks.judging.judge import judged

            start = time.monotonic()
            row = {"case": _name(case), **judged(opened[1], case), "seconds": round(time.monotonic() - start, 1)}
            file.parent.mkdir(parents=True, exist_ok=True)
            with open(file, "a", encoding="utf-8") as lines:
                lines.write(json.dumps(row) + "\n")
    return True


def _write(arguments: argparse.Namespace, problems: list[str], results: Path) -> None:
    from benchmarks.judging.report import draw, figures_of

    rows = {name: _rows(results / f"judging_{name}.jsonl") for name in ("grocery", "omniglot", *problems)}
    rows = {name: found for name, found in rows.items() if found}
    figures = {key: value for name, found in rows.items() for key, value in figures_of(name, found).items()}
    print(json.dumps(figures, indent=2))
    if arguments.json:
        write_json(arguments.json, {"figures": figures})
    draw(rows, figures, results / "judging.png")


def _rows(file: Path) -> list[dict[str, Any]]:
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True) if file.is_file() else []
    # The last one may be cut by a kill.
    return [json.loads(line) for line in lines if line.endswith("\n")]


def _name(case: Case) -> str:
    run = "_".join(str(value) for value in dataclasses.astuple(case.run))
    return f"{run}_{case.image_size}px_{case.steps}{'_watched' if case.watched else ''}"


def _problem(arguments: argparse.Namespace, name: str, size: int) -> "Problem":
    with quiet():
        import tensorflow as tf
    from benchmarks.methods import data as methods_data

    tf.get_logger().setLevel("ERROR")
    tf.config.experimental.enable_op_determinism()
    cache = arguments.workdir / name
    if name == "generated":
        return methods_data.generated()
    if name == "grocery":
        folder, weights = arguments.grocery_dir, arguments.student_weights
        return methods_data.grocery(folder, weights, cache, image_size=size, steps=None)
    from benchmarks.methods.omniglot import omniglot

    return omniglot(arguments.omniglot_dir, cache, image_size=size, steps=None)


def _parser() -> argparse.ArgumentParser:
    parser = parser_of(__doc__, "runs/methods")
    parser.add_argument("--grocery_dir", type=Path, help="folder of the grocery photos")
    parser.add_argument("--student_weights", default="imagenet", help="grocery: a .weights.h5 file, or imagenet")
    parser.add_argument("--omniglot_dir", type=Path, help="folder of the zips of Omniglot")
    return parser


if __name__ == "__main__":
    run_command(main)
