"""How well does a student's query search the teacher's own gallery, against everything that was published for it?

    python -m benchmarks.asymmetric --data_dir=DIR --weights_dir=DIR --json=benchmarks/results/asymmetric.json

DIR holds the Grocery photos (train.txt, pool.txt, val.txt, test.txt, teacher_expert.npz, teacher_lite2.npz), the other
one the published weights. The test images judge, leave-one-out; learning rates and strengths of every method are chosen
on the validation images, at 330 answers and with a seed of their own. Parts (--parts):

    compared   ours, every rival and the controls: 66, 330 and 1,320 answers
    assisted   ours and the rivals behind the same assistants, tuned anew: 66 and 330 answers
    curve      both spaces over 66, 165, 330, 660 and 1,320 answers
    table      with all 4,101 vectors of the teacher known beside 66 and 330 answers, their images not shown
    projected  a teacher of 1,280 dimensions, whole and cut to 128
    lite2      teacher_lite2.npz

Each finished run is a line of asymmetric.csv in --results, so that the same command goes on after a kill or
--max_minutes and repeats nothing; the assistants' answers are kept in --workdir. Figures, in points of mAP with
`..._std`: `asymmetric_map_66`, `_330`, `_1320`; `gain_over_best_rival_66`, ...; `own_space_map_66`, ...;
`gain_of_known_gallery_66`, `_330`; `projected_loss`; `projected_share` (of the teacher's mAP that 128 dimensions keep,
percent); `lite2_asymmetric_map_66`, ...
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.asymmetric.plan import PARTS, SMOKE, Run, Sizes, wanted
from benchmarks.asymmetric.report import figures_of, tables_of, with_search
from benchmarks.methods.results import Results
from kdistill.console.progress import progress_bar
from kdistill.console.quiet import quiet
from kdistill.errors import ArgumentError, run_command
from kdistill.files.whole import write_json, write_whole

if TYPE_CHECKING:
    from benchmarks.asymmetric.arenas import Scene

RESULTS = Path("benchmarks/results")
RUNS_A_PROCESS = 20
"""TensorFlow keeps the graphs of every training, so the command starts itself anew."""


def main() -> None:
    """Parses the command line, runs what is left, writes."""
    arguments = _parser().parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    parts = arguments.parts.split(",")
    unknown = next((part for part in parts if part not in PARTS), None)
    if unknown is not None:
        raise ArgumentError(f"there is no part {unknown!r}; choose of {', '.join(PARTS)}")
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

        from benchmarks.asymmetric import arenas
        from benchmarks.asymmetric.train import execute
        from kdistill.evaluation import evaluate_leave_one_out
        from kdistill.space.projection import fit_projection

    tf.get_logger().setLevel("ERROR")
    tf.config.experimental.enable_op_determinism()
    workdir.mkdir(parents=True, exist_ok=True)
    sizes = SMOKE if smoke else Sizes()
    opened: dict[str, Scene] = {}

    def scene_of(name: str) -> "Scene":
        if name not in opened:
            opened.clear()  # one teacher's photos at a time
            folders = arguments.data_dir, arguments.weights_dir, workdir
            opened[name] = arenas.generated() if smoke else arenas.scene(name, *folders)
        return opened[name]

    marks: dict[str, str] = {}
    figures: dict[str, float] = {}
    for name in arenas.TEACHERS:
        scene = scene_of(name)
        problem = scene.arena.problem
        marks[name] = problem.setup(ignored=("steps",), steps=[sizes.steps, sizes.assistant_steps], teacher=name)
        test = problem.test
        whole = evaluate_leave_one_out(test.teacher, test.labels).map
        figures[f"{name}_teacher_map"] = round(100 * whole, 3)
        if name == "pooled":
            cut = fit_projection(arenas.unit(problem.pool.teacher), sizes.projected[1]).transform(test.teacher)
            figures["projected_share"] = round(100 * evaluate_leave_one_out(cut, test.labels).map / whole, 3)
    done = Results(results / "asymmetric.csv", Run, lambda run: marks.get(run.teacher, ""))
    complete = True
    started, count = time.monotonic(), 0
    with progress_bar(total=None, description="runs", unit="run") as bar:
        for part in parts:
            for group in wanted(part, done.maps, sizes):
                for run in group:
                    if run in done.maps:
                        continue
                    elapsed = time.monotonic() - started
                    if arguments.max_minutes is not None and elapsed > 60 * arguments.max_minutes:
                        complete = False
                        break
                    if count == RUNS_A_PROCESS and not smoke:
                        minutes = None if arguments.max_minutes is None else arguments.max_minutes - elapsed / 60
                        limit = [] if minutes is None else [f"--max_minutes={max(0.0, minutes):.3f}"]
                        sys.stderr.flush()
                        os.execv(sys.executable, [*sys.orig_argv, *limit])
                    bar.set_postfix_str(f"{run.teacher} {run.method} {run.budget} seed {run.seed}")
                    begun = time.monotonic()
                    for search, scores in execute(scene_of(run.teacher), run, workdir, sizes).items():
                        done.add(with_search(run, search), scores, time.monotonic() - begun)
                    count += 1
                    bar.update()
    figures |= figures_of(done.maps, sizes)
    write_whole(results / "asymmetric.md", tables_of(done.maps, sizes))
    print((results / "asymmetric.md").read_text())
    print(json.dumps(figures, indent=2))
    if arguments.json:
        write_json(arguments.json, {"figures": figures, "complete": complete, "setups": marks})
    if not complete:
        print("not all runs are done; start the same command again to continue", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", type=Path, help="folder of the grocery photos")
    parser.add_argument("--weights_dir", type=Path, help="folder of the published weights")
    parser.add_argument("--parts", default=",".join(PARTS), help=f"comma-separated, of {', '.join(PARTS)}")
    parser.add_argument("--max_minutes", type=float, help="start no run later than this")
    parser.add_argument(
        "--workdir", type=Path, default=Path("runs/asymmetric"), help="images and answers are kept here"
    )
    parser.add_argument("--results", type=Path, help=f"folder of the files; {RESULTS}")
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    parser.add_argument("--smoke", action="store_true", help="generated images, a few steps: shows that it runs")
    return parser


if __name__ == "__main__":
    run_command(main)
