"""Do losses and gradients stay finite, whatever a batch holds?

    python -m benchmarks.soundness --json=benchmarks/results/soundness.json

For every loss, random batches of 1, 2, 3 or 8 images with duplicates, zero rows, opposite rows and lengths from 0.001
to 100, through interpolation, mask, loss and gradient where the loss belongs to the joint space, in float32 and
float16. Figures: `batches` (for each loss), `not_finite` (batches with a NaN or an infinity in a loss, or in a float32
gradient), `not_repeated` (batches whose loss differs when everything runs again with the same seed).
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from kdistill import losses
from kdistill.layers import JointSpaceInterpolation, pair_mask
from kdistill.progress import progress_bar

DIM = 4


def random_batch(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns teacher and student rows float32 [B, DIM] and labels int64 [B], with every kind of accident."""
    size = int(random.choice([1, 2, 3, 8]))
    teacher, student = random.normal(size=(2, size, DIM)).astype(np.float32) * 10.0 ** random.integers(-3, 3)
    for rows in (teacher, student):
        rows[random.random(size) < 0.1] = 0.0
        if random.random() < 0.3:
            rows[:] = rows[random.integers(0, size, size)]
        if random.random() < 0.05:
            rows[:] = rows[:1] * random.choice([-1, 1], size=(size, 1))
    return teacher.astype(np.float32), student.astype(np.float32), random.integers(0, 3, size)


def step_of(name: str) -> Callable[[Any, Any], list[tf.Tensor]]:
    """Returns a graph (targets, student) -> loss and gradient for float32 rows, then for float16 rows."""
    loss = losses.get(name)
    interpolation = JointSpaceInterpolation(6)

    def value(targets: tf.Tensor, student: tf.Tensor) -> tf.Tensor:
        if not loss.joint:
            return loss.call(targets, student)
        rows, answers, parents = interpolation((student, targets))
        mask = pair_mask(parents, tf.shape(student)[0], anchors="both")
        return loss.call(answers, rows, mask=mask)

    targets_spec = tf.TensorSpec([None], tf.int64) if loss.needs_labels else tf.TensorSpec([None, DIM])

    @tf.function(input_signature=[targets_spec, tf.TensorSpec([None, DIM])])
    def step(targets: tf.Tensor, student: tf.Tensor) -> list[tf.Tensor]:
        outputs = []
        for dtype in (tf.float32, tf.float16):
            rows = tf.cast(student, dtype)
            with tf.GradientTape() as tape:
                tape.watch(rows)
                total = value(targets, rows)
            outputs += [total, tape.gradient(total, rows)]
        return outputs

    return step


def losses_of(name: str, batches: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns float32 [batches] losses, and bool [batches]: whether loss and gradient were finite."""
    random = np.random.default_rng(seed)
    step, needs_labels = step_of(name), losses.get(name).needs_labels
    values, finite = np.zeros(batches, np.float32), np.zeros(batches, bool)
    for index in range(batches):
        teacher, student, labels = random_batch(random)
        loss, gradient, half_loss, _ = step(labels if needs_labels else teacher, student)
        values[index] = loss
        # A float16 gradient may overflow: that is what loss scaling is for.
        finite[index] = all(np.all(np.isfinite(tensor)) for tensor in (loss, gradient, half_loss))
    return values, finite


def main() -> None:
    """Parses the command line, runs every loss twice, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="file to write the result to")
    parser.add_argument("--batches", type=int, default=10_000, help="random batches for each loss")
    parser.add_argument("--seed", type=int, default=0, help="of the batches")
    arguments = parser.parse_args()
    rows = []
    for name in progress_bar(losses.names(), total=len(losses.names()), description="losses", unit="loss"):
        values, finite = losses_of(name, arguments.batches, arguments.seed)
        again, _ = losses_of(name, arguments.batches, arguments.seed)
        row = {"loss": name, "not_finite": int(np.sum(~finite)), "not_repeated": int(np.sum(values != again))}
        rows.append({**row, "least": float(values.min()), "largest": float(values.max())})
    figures = {key: sum(row[key] for row in rows) for key in ("not_finite", "not_repeated")}
    result = {"figures": {"batches": arguments.batches, **figures}, "seed": arguments.seed, "losses": rows}
    print(json.dumps(result["figures"], indent=2))
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
