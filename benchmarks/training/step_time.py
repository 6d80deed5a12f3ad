"""What the joint space adds to a training step, and how the losses grow with its rows.

    python -m benchmarks.training.step_time --json=benchmarks/results/step_time.json

In one run, in turn:

- a full `Distiller.train_step` with the default loss against the same student's bare forward pass, backward pass and
  update (the embeddings' sum stands for a loss), B=64, M=256, the main job's bank of past rows (1,024, filled), Ds=128,
  Dt=1280, MobileNetV2 0.35 at 96 px, Adam;
- interpolation, mask and loss with its gradient alone, for N = B + M = 320, 1088 and 2112 rows: the default setting
  (originals as anchors), then every joint-space loss with all rows as anchors, the most expensive setting. Each in a
  process of its own, so that its peak memory is its own.

Figures: `step_ratio` (median of full / bare over rounds); of the default setting `loss_ms_N` and `peak_mib_N`; and
`matrices_2112`, the largest peak memory of any joint-space loss with all rows as anchors, in float32 matrices of N x N
(N = 2112). A tensor of N x N x N would count for 2112 of them.
"""

import argparse
import json
import multiprocessing
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from benchmarks.evaluation.__main__ import peak_extra_mib
from kdistill import losses, students
from kdistill.console.progress import progress_bar
from kdistill.files.whole import write_json
from kdistill.layers import EmbeddingBank, JointSpaceInterpolation, pair_mask
from kdistill.settings.groups.joint_space import JointSpaceSettings
from kdistill.training.distiller import Distiller

BATCH, STUDENT_DIM, TEACHER_DIM = 64, 128, 1280
MIXTURES = (256, 1024, 2048)
DEFAULT_LOSS = "softmax_ranking"


def bare_step(student: keras.Model, images: tf.Tensor) -> Callable[[], Any]:
    """Returns a compiled step that does all but interpolate and rank."""
    optimizer = keras.optimizers.Adam(1e-4)
    optimizer.build(student.trainable_variables)

    @tf.function
    def step() -> tf.Tensor:
        with tf.GradientTape() as tape:
            objective = tf.reduce_sum(student(images, training=True))
        gradients = tape.gradient(objective, student.trainable_variables)
        optimizer.apply_gradients(zip(gradients, student.trainable_variables, strict=True))
        return objective

    return step


def full_step(student: keras.Model, images: tf.Tensor, answers: tf.Tensor, mixtures: int) -> Callable[[], Any]:
    """Returns the compiled `train_step` of a Distiller with the default loss and a bank of other images."""
    bank = EmbeddingBank(JointSpaceSettings().bank_size)
    distiller = Distiller(student, interpolation=JointSpaceInterpolation(mixtures), bank=bank)
    distiller.compile(keras.optimizers.Adam(1e-4), loss=DEFAULT_LOSS)
    distiller.joint_loss(answers, student(images))
    random = np.random.default_rng(1)
    past = [random.standard_normal((bank.size, dim)).astype(np.float32) for dim in (STUDENT_DIM, TEACHER_DIM)]
    bank((past[0], past[1]))
    distiller.optimizer.build(distiller.trainable_variables)
    return tf.function(lambda: distiller.train_step((images, answers)))


def measure_loss(name: str, anchors: str, mixtures: int, batch: int, rounds: int) -> dict[str, Any]:
    """Times compiled interpolation, mask, loss and gradient on random embeddings; the process must be fresh."""
    random = np.random.default_rng(0)
    student = tf.constant(random.standard_normal((batch, STUDENT_DIM)), tf.float32)
    teacher = tf.constant(random.standard_normal((batch, TEACHER_DIM)), tf.float32)
    loss = losses.get(name)
    interpolation = JointSpaceInterpolation(mixtures)
    interpolation((student, teacher))

    # Arguments instead of constants, which TensorFlow would fold.
    @tf.function
    def step(student: tf.Tensor, teacher: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(student)
            rows, answers, parents = interpolation((student, teacher))
            mask = pair_mask(parents, batch, anchors=anchors)
            total = loss.call(answers, rows, mask=mask)
        return tape.gradient(total, student)

    # Traced before, so that what is counted is the first execution.
    compiled = step.get_concrete_function(student, teacher)
    peak = peak_extra_mib(lambda: compiled(student, teacher))
    times = [seconds(lambda: compiled(student, teacher)) for _ in range(rounds)]
    row = {"loss": name, "anchors": anchors, "rows": batch + mixtures, "peak_mib": peak}
    return {**row, "ms": 1000 * float(np.median(times))}


def seconds(work: Callable[[], Any]) -> float:
    """Returns the wall time of one run."""
    start = time.perf_counter()
    # Reading a number waits for a result that an accelerator still computes.
    tf.nest.map_structure(lambda tensor: tf.convert_to_tensor(tensor).numpy(), work())
    return time.perf_counter() - start


def measure(
    backbone: str, alpha: float, image_size: int, batch: int, mixtures: tuple[int, ...], rounds: int, isolated: bool
) -> dict[str, Any]:
    """Runs everything, losses in processes of their own if `isolated`, and returns the object written as JSON."""
    random = np.random.default_rng(0)
    images = tf.constant(random.integers(0, 256, (batch, image_size, image_size, 3)), tf.uint8)
    answers = tf.constant(random.standard_normal((batch, TEACHER_DIM)), tf.float32)

    def student() -> keras.Model:
        return students.build(backbone, alpha=alpha, image_size=image_size, embedding_dim=STUDENT_DIM)

    bare, full = bare_step(student(), images), full_step(student(), images, answers, mixtures[0])
    for work in (bare, full, bare, full):
        work()
    # The order changes every round, so that neither always follows the other.
    pairs = []
    for turn in progress_bar(range(rounds), total=rounds, description="steps", unit="round"):
        if turn % 2:
            pairs.append((seconds(full), seconds(bare)))
        else:
            bare_seconds = seconds(bare)
            pairs.append((seconds(full), bare_seconds))
    ratios = [full_seconds / bare_seconds for full_seconds, bare_seconds in pairs]

    figures: dict[str, float] = {"step_ratio": float(np.median(ratios))}
    joint = [name for name in losses.names() if losses.get(name).joint]
    settings = [(DEFAULT_LOSS, "originals"), *((name, "both") for name in joint)]
    runs = [(name, anchors, count, batch, rounds) for name, anchors in settings for count in mixtures]
    bar = progress_bar(runs, total=len(runs), description="losses", unit="loss")
    if isolated:
        with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
            details = [pool.apply(measure_loss, one) for one in bar]
    else:
        details = [measure_loss(*one) for one in bar]
    for row in details[: len(mixtures)]:
        figures[f"loss_ms_{row['rows']}"] = row["ms"]
        figures[f"peak_mib_{row['rows']}"] = row["peak_mib"]
    largest = batch + mixtures[-1]
    matrix_mib = 4 * largest**2 / 2**20
    all_rows = [row["peak_mib"] for row in details if row["rows"] == largest and row["anchors"] == "both"]
    figures[f"matrices_{largest}"] = max(all_rows) / matrix_mib
    return {
        "figures": figures,
        "step": {
            "full_ms": 1000 * float(np.median([full_seconds for full_seconds, _ in pairs])),
            "bare_ms": 1000 * float(np.median([bare_seconds for _, bare_seconds in pairs])),
            "ratio_quartiles": np.percentile(ratios, [25, 75]).tolist(),
            "rounds": rounds,
        },
        "setting": {"backbone": backbone, "alpha": alpha, "image_size": image_size, "batch": batch},
        "losses": details,
        "machine": {
            "cpus": os.cpu_count(),
            "processor": platform.machine(),
            "tensorflow": tf.__version__,
            "gpus": len(tf.config.list_physical_devices("GPU")),
        },
    }


def main() -> None:
    """Parses the command line, measures, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="file to write the result to")
    parser.add_argument("--smoke", action="store_true", help="small sizes: shows that it runs, not how fast")
    parser.add_argument("--rounds", type=int, default=30, help="timed rounds; medians count")
    arguments = parser.parse_args()
    if arguments.smoke:
        result = measure("small_cnn", 0.25, 16, 8, (8, 56), rounds=2, isolated=False)
    else:
        result = measure("mobilenet_v2", 0.35, 96, BATCH, MIXTURES, arguments.rounds, isolated=True)
    print(json.dumps(result["figures"], indent=2))
    if arguments.json:
        write_json(arguments.json, result)


if __name__ == "__main__":
    main()
