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
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.asymmetric.plan import PARTS, SMOKE, Run, Sizes, wanted
from benchmarks.asymmetric.report import figures_of, tables_of, with_search
from benchmarks.long_runs import RESULTS, Pace, chosen_parts, parser_of, write_figures
from benchmarks.methods.results import Results
from kdistill.console.progress import progress_bar
from kdistill.console.quiet import quiet
from kdistill.errors import ArgumentError, run_command

if TYPE_CHECKING:
    from benchmarks.asymmetric.arenas import Scene


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
    pace = Pace(arguments.max_minutes)
    with progress_bar(total=None, description="runs", unit="run") as bar:
        for part in parts:
            for group in wanted(part, done.maps, sizes):
                for run in group:
                    if run in done.maps:
                        continue
                    # A smoke run keeps what is finished in a folder of its own process.
                    if not smoke and not pace.goes_on():
                        complete = False
                        break
                    bar.set_postfix_str(f"{run.teacher} {run.method} {run.budget} seed {run.seed}")
                    begun = time.monotonic()
                    for search, scores in execute(scene_of(run.teacher), run, workdir, sizes).items():
                        done.add(with_search(run, search), scores, time.monotonic() - begun)
                    bar.update()
    figures |= figures_of(done.maps, sizes)
    content = {"figures": figures, "complete": complete, "setups": marks}
    table = tables_of(done.maps, sizes)
    write_figures(results / "asymmetric.md", table, content, arguments.json, complete=complete)


def _parser() -> argparse.ArgumentParser:
    parser = parser_of(__doc__, "runs/asymmetric")
    parser.add_argument("--data_dir", type=Path, help="folder of the grocery photos")
    parser.add_argument("--weights_dir", type=Path, help="folder of the published weights")
    parser.add_argument("--parts", default=",".join(PARTS), help=f"comma-separated, of {', '.join(PARTS)}")
    return parser


if __name__ == "__main__":
    run_command(main)
