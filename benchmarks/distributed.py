"""Two processes that train together against one: the same curve of the loss, and what it costs.

    python -m benchmarks.distributed --data_dir=PHOTOS --student_weights=FILE --json=benchmarks/results/distributed.json

PHOTOS holds `pool.txt` and a teacher table `teacher_expert.npz`. Both runs take the same 50 steps of a global batch of
32: one process, then two of 16 under MultiWorkerMirroredStrategy on this machine, joint space over both. MobileNetV2
0.35 at 96 px with frozen batch normalisation, augmented views, 64 mixtures, Adam.

Figures: `max_abs_difference` of the loss over the steps, and `time_ratio`, the median step of two processes over that
of one. All share one machine, so the ratio measures the overhead and no gain.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
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
    keras.utils.set_random_seed(0)
    if arguments.smoke:
        pixels, answers = smoke_data()
        student = students.build("small_cnn", alpha=0.25, image_size=16, embedding_dim=16)
    else:
        pixels, answers = photo_data(arguments.data_dir, 120, arguments.photos)
        student = students.build(
            "mobilenet_v2", alpha=0.35, image_size=96, embedding_dim=128, weights=arguments.student_weights
        )
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
        distiller.compile(keras.optimizers.Adam(arguments.learning_rate), loss="softmax_ranking")
        distiller.optimizer.build(distiller.trainable_variables)
        return distiller

    times = StepTimes()
    # An epoch of one step: its loss is that of the step.
    if strategy is None:
        history = distiller_of(student).fit(
            batches(), epochs=arguments.steps, steps_per_epoch=1, shuffle=False, verbose=0, callbacks=[times]
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
            callbacks=[times],
        )
    return {"loss": history.history["loss"], "seconds": times.seconds} if is_chief(strategy) else None


def free_ports(count: int) -> list[int]:
    """Returns ports of this machine that nothing listens on now."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def run_processes(workers: int) -> dict[str, Any]:
    """Runs this command line again in a process for each worker (0: one without a strategy); returns the chief's words.

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
            command += [f"--role={'worker' if workers else 'one'}", f"--result={output}"]
            running.append(subprocess.Popen(command, env=environment))
        if any([process.wait() for process in running]):
            raise RuntimeError("a training process failed; see above")
        return dict(json.loads(output.read_text()))


def main() -> None:
    """Parses the command line, measures, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="file to write the result to")
    parser.add_argument("--smoke", action="store_true", help="digits and a tiny student instead of photos")
    parser.add_argument("--data_dir", type=Path, help="folder of the photos")
    parser.add_argument("--student_weights", help="start of the backbone (.weights.h5)")
    parser.add_argument("--photos", type=int, default=320, help="how many of the pool are read")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--batch_size", type=int, default=32, help="of all workers together")
    parser.add_argument("--learning_rate", type=float, default=5e-4)
    parser.add_argument("--role", choices=("one", "worker"), help=argparse.SUPPRESS)
    parser.add_argument("--result", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if not arguments.smoke and arguments.data_dir is None:
        parser.error("name the photos with --data_dir, or ask for --smoke")
    if arguments.role:
        result = train(arguments)
        if result is not None:
            arguments.result.write_text(json.dumps(result))
        return
    one, two = run_processes(0), run_processes(2)
    difference = np.abs(np.subtract(one["loss"], two["loss"]))
    # The first steps also trace and start threads.
    seconds = {name: float(np.median(run["seconds"][5:])) for name, run in (("one", one), ("two", two))}
    result = {
        "figures": {
            "max_abs_difference": float(difference.max()),
            "time_ratio": seconds["two"] / seconds["one"],
        },
        "steps": arguments.steps,
        "global_batch": arguments.batch_size,
        "first_and_last_loss": [one["loss"][0], one["loss"][-1]],
        "median_step_seconds": seconds,
        "step_of_max_difference": int(difference.argmax()) + 1,
        "loss_of_one_process": one["loss"],
        "loss_of_two_processes": two["loss"],
        "machine": {"cpus": os.cpu_count(), "tensorflow": tf.__version__, "keras": keras.__version__},
    }
    print(json.dumps(result["figures"], indent=2))
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
