"""What is an assistant worth, with how many questions, to our method and to every rival?

    python -m benchmarks.assistant --data_dir=DIR --weights_dir=DIR --json=benchmarks/results/methods_assistant.json

DIR holds the Grocery photos (train.txt, pool.txt, val.txt, test.txt, teacher_expert.npz, teacher_lite2.npz), the other
one the published weights. An assistant is never of the teacher's own network. The test images judge; learning rates and
options are chosen on the validation images with seeds of their own. Parts (--parts):

    headline   the default behind EfficientNet-Lite0 at 192 pixels: 66, 165 and 330 questions, 96 pixels
    untaught   the control: the same assistant without a single question
    large      the student of configs/grocery.flags: 330 questions, 128 pixels
    lite2      teacher_lite2.npz, behind MobileNetV2 1.0
    mixing     the assistant's own training with and without mixtures, rates chosen for both, five seeds
    rivals     every label-free rival behind the same assistants, tuned by as many trials as the default, 300 steps
    labels     the same network taught by the labels of the same images (contrastive), and the student behind it

Each finished run is a line of methods_assistant.csv in --results, so that the same command goes on after a kill or
--max_minutes and repeats nothing; the assistants' answers are kept in --workdir. Figures, in points of mAP, mean over
seeds with `..._std` beside: `assistant_map_66`, `_165`, `_330` (the student behind the assistant),
`assistant_itself_66`, ...; `untaught_map`; `grocery_map`; `lite2_map`, `lite2_share` (of the teacher, percent);
`mixing_gain_66`, `_165`; `gain_over_best_rival_66`, ...; `gain_over_labels_66`, ...; `gain_over_untaught_66`, ...
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.assistant.plan import PARTS, SMOKE, Run, Sizes, wanted
from benchmarks.assistant.report import figures_of, tables_of
from benchmarks.long_runs import RESULTS, Pace, chosen_parts, parser_of, write_figures
from benchmarks.methods.results import Results
from kdistill.console.progress import progress_bar
from kdistill.console.quiet import quiet
from kdistill.errors import ArgumentError, run_command

if TYPE_CHECKING:
    from benchmarks.assistant.arenas import Arena


def main() -> None:
    """Parses the command line, runs what is left, writes."""
    arguments = _parser().parse_args()
    parts = chosen_parts(arguments.parts, PARTS)
    if arguments.smoke:
        with tempfile.TemporaryDirectory() as folder:
            _benchmark(arguments, parts, arguments.results or Path(folder), Path(folder), smoke=True)
        return
    if arguments.data_dir is None or arguments.weights_dir is None:
        raise ArgumentError("--data_dir and --weights_dir are needed: the folders of the photos and of the weights")
    _benchmark(arguments, parts, arguments.results or RESULTS, arguments.workdir, smoke=False)


def _benchmark(arguments: argparse.Namespace, parts: list[str], results: Path, workdir: Path, smoke: bool) -> None:
    with quiet():
        import tensorflow as tf

        from benchmarks.assistant import arenas
        from benchmarks.assistant.train import execute, setup_of
        from kdistill.evaluation import evaluate_leave_one_out

    tf.get_logger().setLevel("ERROR")
    tf.config.experimental.enable_op_determinism()
    workdir.mkdir(parents=True, exist_ok=True)
    sizes = SMOKE if smoke else Sizes()
    opened: dict[str, Arena] = {}

    def arena_of(name: str) -> "Arena":
        if name not in opened:
            opened.clear()  # one problem's images at a time
            opened[name] = (
                arenas.generated()
                if smoke
                else arenas.arena(name, arguments.data_dir, arguments.weights_dir, arguments.workdir)
            )
        return opened[name]

    marks: dict[str, str] = {}
    teachers: dict[str, float] = {}
    for name in arenas.ARENAS:
        problem = arena_of(name)
        marks[name] = setup_of(problem, sizes.assistant_steps)
        test = problem.problem.test
        teachers[name] = evaluate_leave_one_out(test.teacher, test.labels).as_dict()["map"]
    done = Results(results / "methods_assistant.csv", Run, lambda run: marks.get(run.problem, ""))
    complete = _run(
        parts, done, lambda run: execute(arena_of(run.problem), run, workdir, sizes.assistant_steps), sizes, arguments
    )
    figures = figures_of(done.maps, teachers, sizes)
    content = {"figures": figures, "complete": complete, "setups": marks}
    table = tables_of(done.maps, sizes)
    write_figures(results / "methods_assistant.md", table, content, arguments.json, complete=complete)


def _run(
    parts: list[str],
    results: Results[Run],
    execute: Callable[[Run], dict[str, float]],
    sizes: Sizes,
    arguments: argparse.Namespace,
) -> bool:
    """Does what is left; returns whether all of it is done. After a share of runs the process starts itself anew."""
    pace = Pace(arguments.max_minutes)
    left = [
        run for part in parts for group in wanted(part, results.maps, sizes) for run in group if run not in results.maps
    ]
    with progress_bar(total=len(left), description="runs", unit="run") as bar:
        for part in parts:
            for group in wanted(part, results.maps, sizes):
                for run in (run for run in group if run not in results.maps):
                    # A smoke run keeps what is finished in a folder of its own process.
                    if not arguments.smoke and not pace.goes_on():
                        return False
                    bar.set_postfix_str(f"{run.problem} {run.assistant} {run.method} {run.budget} seed {run.seed}")
                    begun = time.monotonic()
                    results.add(run, execute(run), time.monotonic() - begun)
                    bar.update()
    return True


def _parser() -> argparse.ArgumentParser:
    parser = parser_of(__doc__, "runs/assistant")
    parser.add_argument("--data_dir", type=Path, help="folder of the grocery photos")
    parser.add_argument("--weights_dir", type=Path, help="folder of the published weights")
    parser.add_argument("--parts", default=",".join(PARTS), help=f"comma-separated, of {', '.join(PARTS)}")
    return parser


if __name__ == "__main__":
    run_command(main)
