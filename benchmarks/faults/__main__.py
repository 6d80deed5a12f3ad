"""Is anything lost, paid twice or changed when a whole run is killed again and again?

    python -m benchmarks.faults --kills=200 --json=benchmarks/results/faults.json

Runs the main job once undisturbed and once with SIGKILL at random moments, started again by the same command each time,
until all of it is done. The kills are spread evenly over the phases of the run (training the embedded teacher, asking
it, distilling, evaluating, exporting, measuring, reporting). A life ends at a moment that is uniform over the time that
the phase takes, start-up included, at most --longest_life; in three of four lives in which the run asks or distils, it
is uniform over a share of that time after the ledger or the checkpoints have changed. A phase whose kills are used up
is left in peace until it is done; what phases that were done early left over goes to further runs, over all phases
again.

The ledger is read after every kill. Figures: `kills`; `lost_answers`, answers that were in the ledger at any kill and
are not, unchanged, in it later, or that the undisturbed run has and this one has not; `budget_violations`, readings at
which more was spent than the budget allows, and questions counted more than once (the teacher is free of charge, so a
question that was lost is not counted); `map_disturbed` and `map_undisturbed`, the students' mAP;
`students_identical`, whether all weights are equal to the last bit (1 or 0), of the worst run where there are several.

An interrupted benchmark continues where it stopped (--workdir).
"""

import argparse
import io
import json
import platform
import shutil
import time
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from benchmarks.faults.kills import Killer, Run, read_ledger, run_undisturbed, start_up_seconds
from kdistill.errors import KdistillError, run_command
from kdistill.files.whole import write_json

# None of these changes a result. Small batches and frequent checkpoints make more moments that matter.
FREQUENT = ("--ask_batch_size=2", "--evaluations=60", "--benchmark_runs=3")


def measure(flags: list[str], folder: Path, kills: int, seed: int, longest_life: float) -> dict[str, Any]:
    """Runs undisturbed, then with kills; returns the figures and what they are made of."""
    calm = Run(folder, "undisturbed", [*flags, *FREQUENT])
    phases = run_undisturbed(calm)
    reference = read_ledger(calm.workdir).answers
    start_up = start_up_seconds()
    runs: list[dict[str, Any]] = []
    delivered = 0
    while delivered < kills:
        run = Run(folder, f"disturbed_{len(runs)}", [*flags, *FREQUENT])
        killer = Killer(run, phases, kills - delivered, start_up=start_up, seed=seed, longest_life=longest_life)
        killer.kill_until_done()
        runs.append(
            {
                "kills": killer.state["kills"],
                "starts": killer.state["starts"],
                "minutes": killer.state["seconds"] / 60,
                "lost_answers": killer.lost(reference),
                "budget_violations": killer.state["violations"],
                "questions_in_flight_at_a_kill": killer.state["in_flight"],
                "map": student_map(run.workdir),
                "students_identical": same_weights(calm.workdir / "student.keras", run.workdir / "student.keras"),
            }
        )
        delivered += sum(killer.state["kills"].values())
    undisturbed = student_map(calm.workdir)
    worst = max(runs, key=lambda run: abs(run["map"] - undisturbed))
    return {
        "figures": {
            "kills": delivered,
            "lost_answers": sum(run["lost_answers"] for run in runs),
            "budget_violations": sum(run["budget_violations"] for run in runs),
            "map_disturbed": worst["map"],
            "map_undisturbed": undisturbed,
            "students_identical": int(all(run["students_identical"] for run in runs)),
        },
        "runs": runs,
        "undisturbed_seconds": phases,
        "setting": {"flags": [*flags, *FREQUENT], "seed": seed, "longest_life_seconds": longest_life},
        "python": platform.python_version(),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }


def student_map(workdir: Path) -> float:
    """Returns the student's mAP of a finished run."""
    rows = json.loads((workdir / "metrics.json").read_text())["rows"]
    return next(float(row["map"]) for row in rows if row["name"] == "student")


def same_weights(first: Path, second: Path) -> bool:
    """Says whether two `.keras` files hold the same weights, bit by bit."""
    one, other = (_weights(path) for path in (first, second))
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


def _weights(path: Path) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    with zipfile.ZipFile(path) as archive, h5py.File(io.BytesIO(archive.read("model.weights.h5"))) as file:
        file.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    return found


def main() -> None:
    """Parses the command line, measures, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--flagfile", default="configs/quickstart.flags", help="all other settings")
    parser.add_argument("--workdir", type=Path, default=Path("runs/faults"), help="the runs lie here")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--longest_life", type=float, default=20.0, help="seconds that a life to be killed may last")
    parser.add_argument("--json", type=Path, help="file to write the result to")
    parser.add_argument("--restart", action="store_true", help="forget what an interrupted benchmark did")
    parser.add_argument("flags", nargs="*", help="further flags of the main job, after --")
    arguments = parser.parse_args()
    if arguments.restart:
        shutil.rmtree(arguments.workdir, ignore_errors=True)
    arguments.workdir.mkdir(parents=True, exist_ok=True)
    if arguments.kills < 1:
        raise KdistillError(f"--kills={arguments.kills} must be at least 1")
    flags = [f"--flagfile={arguments.flagfile}", *arguments.flags]
    result = measure(flags, arguments.workdir, arguments.kills, arguments.seed, arguments.longest_life)
    print(json.dumps(result["figures"], indent=2))
    if arguments.json:
        write_json(arguments.json, result)


if __name__ == "__main__":
    run_command(main)
