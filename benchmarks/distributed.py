"""Two processes that train together against one: the same curve of the loss, and what it costs.

    python -m benchmarks.distributed --data_dir=PHOTOS --student_weights=FILE --json=benchmarks/results/distributed.json
    python -m benchmarks.distributed --smoke --explain --json=benchmarks/results/distributed_smoke.json

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
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kdistill import students
from kdistill.data import load_pixels
from kdistill.data.digits import digits_data
from kdistill.data.lists import read_list
from kdistill.data.pipeline import training_batches
from kdistill.distiller import Distiller
from kdistill.distributed import copy_of, is_chief, strategy_of
from kdistill.distributed_fit import distributed_batches, distributed_fit
from kdistill.layers import JointSpaceInterpolation


class StepTimes(keras.callbacks.Callback):
    """Keeps the seconds of each step."""

    def __init__(self) -> None:
        """Starts without any."""
        super().__init__()
        self.seconds: list[float] = []

    def on_train_batch_begin(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Starts the clock."""
        self.start = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Stops it."""
        self.seconds.append(time.perf_counter() - self.start)


class SameWeights(keras.callbacks.Callback):
    """Keeps the student's weights before each step in files, or starts each step from those in the files."""

    def __init__(self, folder: Path, follow: bool) -> None:
        """Writes to the folder, or reads what another process wrote there."""
        super().__init__()
        self.folder, self.follow = folder, follow
        self.step = 0
        self.before: list[np.ndarray] = []
        self.update_differences: list[float] = []

    def on_train_batch_begin(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Writes the weights, or compares what the last step did to them and takes the written ones."""
        path = self.folder / f"{self.step}.npz"
        own = self.model.student.get_weights()
        self.step += 1
        if not self.follow:
            np.savez(path, *own)
            return
        with np.load(path, allow_pickle=False) as written:
            given = [written[name] for name in written.files]
        if self.before:
            self.update_differences.append(
                max(
                    float(np.linalg.norm(mine - theirs)) / max(float(np.linalg.norm(theirs - start)), 1e-12)
                    for mine, theirs, start in zip(own, given, self.before, strict=True)
                )
            )
        self.model.student.set_weights(given)
        self.before = given


def smooth(student: keras.Model) -> keras.Model:
    """Returns the student, weights copied, with swish in place of ReLU: its gradient has no jumps."""

    def swish(layer: keras.layers.Layer) -> keras.layers.Layer:
        if isinstance(layer, keras.layers.ReLU):
            return keras.layers.Activation("swish", name=layer.name)
        return layer.__class__.from_config(layer.get_config())

    copied = keras.models.clone_model(student, clone_function=swish)
    copied.set_weights(student.get_weights())
    return copied


def smoke_data() -> tuple[np.ndarray, np.ndarray]:
    """Returns digits uint8 [n, 32, 32, 3] and, as a teacher, their own pixels centred, float32 [n, 64]."""
    pixels = load_pixels(digits_data().pool, 32).pixels
    answers = pixels[:, ::4, ::4, 0].reshape(len(pixels), -1).astype(np.float32) / 255
    return pixels, answers - answers.mean(axis=0)


def photo_data(data_dir: Path, image_size: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the first pool photos uint8 [n, S, S, 3] and the teacher's answers float32 [n, Dt]."""
    with np.load(data_dir / "teacher_expert.npz", allow_pickle=False) as table:
        place = {name: row for row, name in enumerate(table["ids"].tolist())}
        answers = table["embeddings"]
    pool = read_list(data_dir, "pool.txt", labelled=False)
    pool = pool.subset(range(min(count, len(pool))))
    loaded = load_pixels(pool, image_size)
    return loaded.pixels, answers[[place[pool.ids[index]] for index in loaded.indices]]


def train(arguments: argparse.Namespace) -> dict[str, Any] | None:
    """Runs the steps in this process, alone or as one of the workers; returns losses and seconds (None: no chief)."""
    tf.config.experimental.enable_op_determinism()
    strategy = strategy_of("multiworker" if arguments.role == "worker" else "none")
    keras.utils.set_random_seed(arguments.seed)
    if arguments.smoke:
        pixels, answers = smoke_data()
        student = students.build("small_cnn", alpha=0.25, image_size=16, embedding_dim=16)
        if arguments.smooth:
            student = smooth(student)
    else:
        pixels, answers = photo_data(arguments.data_dir, 120, arguments.photos)
        student = students.build(
            "mobilenet_v2", alpha=0.35, image_size=96, embedding_dim=128, weights=arguments.student_weights
        )
    if arguments.frozen or not arguments.smoke:
        for layer in student.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.trainable = False

    def batches(replicas: int = 1, part: range = range(1)) -> tf.data.Dataset:
        return training_batches(
            pixels,
            answers,
            batch_size=arguments.batch_size,
            image_size=students.image_size(student),
            first_step=0,
            last_step=arguments.steps,
            seed=0,
            augment=True,
            replicas=replicas,
            part=part,
        )

    def distiller_of(student: keras.Model) -> Distiller:
        distiller = Distiller(student, JointSpaceInterpolation(64))
        distiller.build_joint_space(answers.shape[-1])
        adam = arguments.optimizer == "adam"
        optimizer = keras.optimizers.Adam(5e-4) if adam else keras.optimizers.SGD(arguments.sgd_rate, momentum=0.9)
        distiller.compile(optimizer, loss="softmax_ranking")
        distiller.optimizer.build(distiller.trainable_variables)
        return distiller

    if arguments.nudge:
        student.set_weights([weight * (1 + arguments.nudge) for weight in student.get_weights()])
    times = StepTimes()
    callbacks: list[keras.callbacks.Callback] = [times]
    if arguments.weights_folder:
        callbacks.append(SameWeights(arguments.weights_folder, follow=strategy is not None))
    # An epoch of one step: its loss is that of the step.
    if strategy is None:
        history = distiller_of(student).fit(
            batches(), epochs=arguments.steps, steps_per_epoch=1, shuffle=False, verbose=0, callbacks=callbacks
        )
    else:
        with strategy.scope():
            distiller = distiller_of(copy_of(student, synchronised=True))
        history = distributed_fit(
            distiller,
            distributed_batches(strategy, batches),
            strategy=strategy,
            epochs=arguments.steps,
            initial_epoch=0,
            steps_per_epoch=1,
            verbose=0,
            callbacks=callbacks,
        )
    if not is_chief(strategy):
        return None
    result = {"loss": history.history["loss"], "seconds": times.seconds}
    if arguments.weights_folder and strategy is not None:
        result["update_differences"] = callbacks[1].update_differences
    return result


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
            command = [sys.executable, "-m", "benchmarks.distributed", *sys.argv[1:]]
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
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
