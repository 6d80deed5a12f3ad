"""Which way of training wins, with how many images? Every method, budget and seed on equal terms.

    python -m benchmarks.methods --problem=grocery --data_dir=DIR --student_weights=FILE --json=FILE
    python -m benchmarks.methods --problem=omniglot --data_dir=DIR --json=FILE

The main job's own training runs in this process, on images decoded once. For every method the images (a nested random
choice by seed), steps, batches, augmentation, BatchNorm policy and start of the projection are the same. Learning rate
and strength (a temperature, a margin, or the weight of the loss) are chosen from a grid of nine for each method, once,
at 330 images on the validation images; while the best rate is the largest or the smallest that was tried, up to nine
further trials follow, at twice or half of it. The test images only judge what was chosen.

Each finished run is a line of methods_PROBLEM.csv in --results, so that the same command continues after a kill, after
--max_minutes, or for more seeds, and repeats nothing. Table (.md) and picture (.png) beside it show what is finished.
Figures: see `figures_of` in benchmarks/methods/report.py, and docs/methods.md.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.long_runs import RESULTS, Pace, parser_of, write_figures
from benchmarks.methods.plan import (
    FURTHER_TRIALS,
    METHODS,
    Plan,
    Run,
    chosen_settings,
    finished_trials,
    rate_beyond,
    runs_left,
)
from benchmarks.methods.report import draw, figures_of, markdown_table, test_maps
from benchmarks.methods.results import Results
from kdistill.console.progress import progress_bar
from kdistill.console.quiet import quiet
from kdistill.errors import ArgumentError, run_command

if TYPE_CHECKING:
    from benchmarks.methods.data import Problem

PROBLEMS = ("grocery", "omniglot")
BUDGETS = "66,165,330,1320"

SMOKE_METHODS = "softmax_ranking,regression"
SMOKE_BUDGETS = "8"
SMOKE_FURTHER_TRIALS = 0


def run_plan(
    plan: Plan,
    results: Results[Run],
    execute: Callable[[Run], dict[str, float]],
    pace: Pace,
) -> bool:
    """Does what is left of the plan; returns whether all of it is done.

    Args:
        plan: of the runs.
        results: where finished runs stand and are put.
        execute: does one.
        pace: says before each whether it may start.
    """
    chosen = chosen_settings(plan, results.maps)
    trials = [trial for name in plan.methods for trial in plan.trials(name, results.maps)]
    runs = [*plan.references(), *(run for trial in trials for run in trial)]
    runs += [run for run, _ in chosen.values() for run in plan.tests(run)]
    done = sum(run in results.maps for run in runs)
    with progress_bar(total=plan.size(results.maps), initial=done, description="runs", unit="run") as bar:
        for run in runs_left(plan, results.maps):
            if not pace.goes_on():
                return False
            bar.set_postfix_str(f"{run.method} {run.budget}")
            start = time.monotonic()
            results.add(run, execute(run), time.monotonic() - start)
            # What a trial shows may call for further ones.
            bar.total = plan.size(results.maps)
            bar.update()
    return True


def content_of(plan: Plan, results: Results[Run], problem: str) -> dict[str, Any]:
    """Returns the content of the JSON file of what is finished.

    Args:
        plan: of the runs.
        results: the finished ones.
        problem: its name.
    """
    figures, best_rivals = figures_of(test_maps(plan, results.maps), plan.pool)
    chosen = {
        name: {
            "learning_rate": run.learning_rate,
            "options": run.options,
            "weight": run.weight,
            "validation_map": value,
            "trials": len(finished_trials(plan, name, results.maps)),
            "rate_lies_inside": rate_beyond(finished_trials(plan, name, results.maps), results.maps) is None,
        }
        for name, (run, value) in chosen_settings(plan, results.maps).items()
    }
    return {"figures": figures, "best_rivals": best_rivals, "chosen": chosen, "problem": problem}


def main() -> None:
    """Parses the command line, runs what is left, writes."""
    arguments = _parser().parse_args()
    if not arguments.smoke:
        _benchmark(arguments)
        return
    arguments.only, arguments.budgets, arguments.seeds = SMOKE_METHODS, SMOKE_BUDGETS, 1
    arguments.further_trials = SMOKE_FURTHER_TRIALS
    with tempfile.TemporaryDirectory() as folder:
        arguments.results = arguments.results or Path(folder)
        _benchmark(arguments)


def _benchmark(arguments: argparse.Namespace) -> None:
    with quiet():
        import tensorflow as tf
    from benchmarks.methods.train import execute, setups

    # Each run traces functions of its own, which TensorFlow takes for a mistake.
    tf.get_logger().setLevel("ERROR")
    tf.config.experimental.enable_op_determinism()
    methods = tuple(METHODS) if arguments.only is None else tuple(arguments.only.split(","))
    seeds, choice_seeds = arguments.seeds, arguments.choice_seeds
    budgets = tuple(sorted({int(budget) for budget in _numbers("--budgets", arguments.budgets)}))
    rates = _numbers("--learning_rates", arguments.learning_rates) if arguments.learning_rates else None
    problem = _problem(arguments)
    rates, pool = rates or problem.learning_rates, len(problem.pool.labels)
    further = arguments.further_trials
    plan = Plan(methods, budgets, seeds, choice_seeds, rates, pool, further)
    stem = (arguments.results or RESULTS) / f"methods_{problem.name}"
    marks = setups(problem)
    results = Results(stem.with_suffix(".csv"), Run, lambda run: marks.get(run.method, ""))
    pace = Pace(arguments.max_minutes)
    try:
        complete = run_plan(plan, results, lambda run: execute(problem, run), pace)
    except KeyboardInterrupt:
        complete = False
    # What other commands on the same file have finished is shown too.
    shown = Plan(tuple(METHODS), budgets, seeds, choice_seeds, rates, pool, further)
    draw(shown, test_maps(shown, results.maps), f"{problem.name}, {seeds} seeds", stem.with_suffix(".png"))
    title = f"{problem.name}: mAP in points on the test images, mean ± standard deviation over up to {seeds} seeds"
    table = markdown_table(shown, results.maps, title)
    facts = {"seeds": seeds, "settings": problem.training_settings(), "complete": complete}
    content = content_of(shown, results, problem.name) | facts
    write_figures(stem.with_suffix(".md"), table, content, arguments.json, complete=complete)


def _problem(arguments: argparse.Namespace) -> "Problem":
    from benchmarks.methods import data as methods_data

    if arguments.smoke:
        return methods_data.generated()
    if arguments.data_dir is None:
        raise ArgumentError("--data_dir is needed: the folder of the images")
    cache = arguments.workdir / arguments.problem
    options = {"image_size": arguments.image_size, "steps": arguments.steps}
    if arguments.problem == "grocery":
        return methods_data.grocery(arguments.data_dir, arguments.student_weights, cache, **options)
    from benchmarks.methods.omniglot import omniglot

    return omniglot(arguments.data_dir, cache, **options)


def _numbers(flag: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(number) for number in text.split(","))
    except ValueError as error:
        raise ArgumentError(f"{flag} takes numbers with commas between them; {text!r} was given") from error


def _parser() -> argparse.ArgumentParser:
    parser = parser_of(__doc__, "runs/methods")
    parser.add_argument("--problem", choices=PROBLEMS, default="grocery")
    parser.add_argument("--data_dir", type=Path, help="folder of the grocery photos, or of the zips of Omniglot")
    parser.add_argument("--student_weights", default="imagenet", help="grocery: a .weights.h5 file, or imagenet")
    parser.add_argument("--only", metavar="METHODS", help=f"comma-separated; all are {', '.join(METHODS)}")
    parser.add_argument("--budgets", default=BUDGETS, help="numbers of images")
    parser.add_argument("--seeds", type=int, default=3, help="of each test")
    parser.add_argument("--choice_seeds", type=int, default=1, help="of each combination of the grid")
    parser.add_argument("--learning_rates", help="of the grid; grocery 1e-4,2e-4,4e-4, omniglot 1e-3,2e-3,4e-3")
    parser.add_argument(
        "--further_trials", type=int, default=FURTHER_TRIALS, help="of each method at most, beyond the grid"
    )
    parser.add_argument("--steps", type=int, help="of each training; grocery 300, omniglot 600")
    parser.add_argument("--image_size", type=int, help="side of the student's input; grocery 96, omniglot 32")
    return parser


if __name__ == "__main__":
    run_command(main)
