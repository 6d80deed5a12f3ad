"""Two processes that train together against one: the same curve of the loss, and what it costs.

    python -m benchmarks.training.distributed --data_dir=PHOTOS --student_weights=FILE \
        --json=benchmarks/results/distributed.json
    python -m benchmarks.training.distributed --smoke --explain --json=benchmarks/results/distributed_smoke.json

PHOTOS holds `pool.txt` and a teacher table `teacher_expert.npz`. Both runs take the same 50 steps of a global batch of
32: one process, then two of 16 under MultiWorkerMirroredStrategy on this machine, joint space over both. MobileNetV2
0.35 at 96 px with frozen batch normalisation, augmented views, 64 mixtures.

Figures for each run NAME:
- `NAME_max_abs_difference` of the loss over the steps between two processes and one;
- `NAME_nudged_difference`, to know what rounding alone does: that of one process from itself when all weights at its
  start are multiplied by 1 + 1e-7;
- `NAME_same_weights_difference`: two processes take each step from the weights that one process had before it, so that
  nothing can grow from step to step; `NAME_update_difference` is then the relative difference of what a step does to
  the weights, the worst layer's, in the median over the steps (one ReLU whose input crosses zero makes a single step an
  exception).
`time_ratio`: the median step of two processes over that of one with SGD; all share one machine, so it measures the
overhead and no gain.

--smoke takes digits and a small CNN whose batch normalisation is trained: `smooth_sgd` and `smooth_adam` with swish
in place of ReLU run freely; `sgd` and `adam`, with ReLU, take the steps from the same weights. --explain adds the
other figures (without --smoke there are all).
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from benchmarks.training.distributed_train import train
from kdistill.files.whole import write_json


def free_ports(count: int) -> list[int]:
    """Returns ports of this machine that nothing listens on now."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def run_processes(workers: int, *options: str) -> dict[str, Any]:
    """Runs this command line again in a process for each worker (0: one without a strategy); returns the chief's words.

    Args:
        workers: how many processes train together.
        *options: more of the command line.

    Raises:
        RuntimeError: one of them failed.
    """
    cluster = {"worker": [f"127.0.0.1:{port}" for port in free_ports(workers)]}
    running = []
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "result.json"
        for index in range(max(workers, 1)):
            environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1"}
            if workers:
                environment["TF_CONFIG"] = json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}})
            command = [sys.executable, "-m", "benchmarks.training.distributed", *sys.argv[1:]]
            command += [f"--role={'worker' if workers else 'one'}", f"--result={output}", *options]
            running.append(subprocess.Popen(command, env=environment))
        if any([process.wait() for process in running]):
            raise RuntimeError("a training process failed; see above")
        return dict(json.loads(output.read_text()))


def compare(optimizer: str, *options: str, kinds: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Returns what one process and each of the kinds "two", "nudged" and "same_weights" came to."""
    options = (f"--optimizer={optimizer}", *options)
    with tempfile.TemporaryDirectory() as folder:
        weights = (f"--weights_folder={folder}",) if "same_weights" in kinds else ()
        runs = {"one": run_processes(0, *options, *weights)}
        if "two" in kinds:
            runs["two"] = run_processes(2, *options)
        if "nudged" in kinds:
            runs["nudged"] = run_processes(0, *options, "--nudge=1e-7")
        if "same_weights" in kinds:
            runs["same_weights"] = run_processes(2, *options, *weights)
    return runs


def main() -> None:
    """Parses the command line, measures, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="file to write the result to")
    parser.add_argument("--smoke", action="store_true", help="digits and a tiny student instead of photos")
    parser.add_argument("--explain", action="store_true", help="with --smoke: also what rounding alone does")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="of the runs, such as sgd or smooth_adam")
    parser.add_argument("--frozen", action="store_true", help="with --smoke: keep the batch normalisation as it starts")
    parser.add_argument("--seed", type=int, default=0, help="of the start and the mixtures")
    parser.add_argument("--data_dir", type=Path, help="folder of the photos")
    parser.add_argument("--student_weights", help="start of the backbone (.weights.h5)")
    parser.add_argument("--photos", type=int, default=320, help="how many of the pool are read")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--batch_size", type=int, default=32, help="of all workers together")
    parser.add_argument("--sgd_rate", type=float, default=1e-5)
    parser.add_argument("--role", choices=("one", "worker"), help=argparse.SUPPRESS)
    parser.add_argument("--optimizer", choices=("sgd", "adam"), help=argparse.SUPPRESS)
    parser.add_argument("--smooth", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--weights_folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--nudge", type=float, default=0.0, help=argparse.SUPPRESS)
    parser.add_argument("--result", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if not arguments.smoke and arguments.data_dir is None:
        parser.error("name the photos with --data_dir, or ask for --smoke")
    if arguments.role:
        result = train(arguments)
        if result is not None:
            arguments.result.write_text(json.dumps(result))
        return
    figures: dict[str, float] = {}
    curves: dict[str, list[float]] = {}
    seconds: dict[str, float] = {}
    every = ("two", "nudged", "same_weights")
    comparisons: dict[str, tuple[str, tuple[str, ...], tuple[str, ...]]]
    comparisons = {"sgd": ("sgd", (), every), "adam": ("adam", (), every)}
    if arguments.smoke:
        # With ReLU two processes, as one nudged, may leave one's curve for good (docs/distributed.md).
        comparisons = {
            "smooth_sgd": ("sgd", ("--smooth",), every[:2] if arguments.explain else every[:1]),
            "smooth_adam": ("adam", ("--smooth",), every[:2] if arguments.explain else every[:1]),
            "sgd": ("sgd", (), every if arguments.explain else every[2:]),
            "adam": ("adam", (), every if arguments.explain else every[2:]),
        }
    if arguments.only:
        if unknown := set(arguments.only) - comparisons.keys():
            parser.error(f"there is no run {', '.join(sorted(unknown))}; there are {', '.join(comparisons)}")
        comparisons = {name: comparisons[name] for name in arguments.only}
    for name, (optimizer, options, kinds) in comparisons.items():
        runs = compare(optimizer, *options, kinds=kinds)
        for kind, run in runs.items():
            curves[f"{name}_{kind}"] = run["loss"]
            # The first steps also trace and start threads.
            seconds[f"{name}_{kind}"] = float(np.median(run["seconds"][5:]))
            if kind != "one":
                figure = "max_abs" if kind == "two" else kind
                difference = np.abs(np.subtract(runs["one"]["loss"], run["loss"])).max()
                figures[f"{name}_{figure}_difference"] = float(difference)
        if "same_weights" in runs:
            figures[f"{name}_update_difference"] = float(np.median(runs["same_weights"]["update_differences"]))
    timed = "smooth_sgd" if arguments.smoke else "sgd"
    if f"{timed}_two" in seconds:
        figures["time_ratio"] = seconds[f"{timed}_two"] / seconds[f"{timed}_one"]
    result = {
        "figures": figures,
        "steps": arguments.steps,
        "global_batch": arguments.batch_size,
        "sgd_rate": arguments.sgd_rate,
        "median_step_seconds": seconds,
        "loss": curves,
        "machine": {"cpus": os.cpu_count(), "tensorflow": tf.__version__, "keras": keras.__version__},
    }
    print(json.dumps(result["figures"], indent=2))
    if arguments.json:
        write_json(arguments.json, result)


if __name__ == "__main__":
    main()
