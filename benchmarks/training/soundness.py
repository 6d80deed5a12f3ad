"""Do losses and gradients stay finite, whatever a batch holds?

    python -m benchmarks.training.soundness --json=benchmarks/results/soundness.json

For every loss, random batches of 1, 2, 3 or 8 images with duplicates, zero rows, opposite rows and lengths from 0.001
to 100, through interpolation, mask, loss and gradient where the loss belongs to the joint space, in float32 and
float16. Figures: `batches` (for each loss), `not_finite` (batches with a NaN or an infinity in a loss, or in a float32
gradient), `not_repeated` (batches whose loss differs when everything runs again with the same seed).
"""

import argparse
import json
from pathlib import Path

import numpy as np
import tensorflow as tf

from kdistill import losses
from kdistill.console.progress import progress_bar
from kdistill.files.whole import write_json
from kdistill.layers import JointSpaceInterpolation, pair_mask

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


def losses_of(name: str, batches: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns float32 [batches] losses, and bool [batches]: whether losses and gradient were finite."""
    random = np.random.default_rng(seed)
    drawn = [random_batch(random) for _ in range(batches)]
    ends = np.cumsum([len(labels) for _, _, labels in drawn])
    teacher, student, labels = (np.concatenate(part) for part in zip(*drawn, strict=True))
    loss = losses.get(name)
    interpolation = JointSpaceInterpolation(6)
    targets = labels if loss.needs_labels else teacher

    def value(targets: tf.Tensor, student: tf.Tensor) -> tf.Tensor:
        if not loss.joint:
            return loss.call(targets, student)
        rows, answers, parents = interpolation((student, targets))
        mask = pair_mask(parents, tf.shape(student)[0], anchors="both")
        return loss.call(answers, rows, mask=mask)

    def one(bounds: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        start, end = bounds
        rows = tf.constant(student)[start:end]
        with tf.GradientTape() as tape:
            tape.watch(rows)
            total = value(tf.constant(targets)[start:end], rows)
        gradient = tape.gradient(total, rows)
        # Only the float16 loss: its gradient may overflow, which is what loss scaling is for.
        half = value(tf.constant(targets)[start:end], tf.cast(rows, tf.float16))
        finite = [tf.reduce_all(tf.math.is_finite(tensor)) for tensor in (total, gradient, half)]
        return total, tf.reduce_all(finite)

    @tf.function
    def run() -> tuple[tf.Tensor, tf.Tensor]:
        # One after the other, so that every batch draws its own mixtures in the same order.
        bounds = (tf.constant(np.append(0, ends[:-1])), tf.constant(ends))
        return tf.map_fn(one, bounds, fn_output_signature=(tf.float32, tf.bool), parallel_iterations=1)

    values, finite = run()
    return values.numpy(), finite.numpy()


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
        write_json(arguments.json, result)


if __name__ == "__main__":
    main()
