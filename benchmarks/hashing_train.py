"""One run of `benchmarks.hashing`: a distilled student, and a hash head trained behind its embedding."""

import dataclasses
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from benchmarks.methods_data import Problem
from benchmarks.methods_plan import Run
from benchmarks.methods_train import chosen_images, train
from kdistill import losses
from kdistill.data.pipeline import augmented_view
from kdistill.data.views import strong_views
from kdistill.files import whole_file
from kdistill.hashing import HashDistiller, initialise_hash_head
from kdistill.layers import JointSpaceInterpolation
from kdistill.layers.hash_head import HashHead

LEARNING_RATE = 2e-4
"""Of the float32 student: what `benchmarks.methods` chose on validation images."""
VIEWS = 12
"""Weak and strong views of each image; the backbone is frozen, so that each is embedded once."""


@dataclasses.dataclass(frozen=True)
class HeadSettings:
    """How a head is trained; on validation images no setting beat the start (benchmarks/results/NOTES.md).

    Attributes:
        steps: of training, 32 images each.
        learning_rate: of Adam at the start; it falls to 0 along a cosine.
        distillation: weight of the self-distillation.
        quantisation: weight of the quantisation.
        student_temperature: of the ranking.
        teacher_temperature: of the ranking.
    """

    steps: int = 300
    learning_rate: float = 1e-3
    distillation: float = 0.1
    quantisation: float = 0.1
    student_temperature: float = 0.05
    teacher_temperature: float = 0.1


def float_run(problem: Problem, budget: int, seed: int) -> Run:
    """Returns the run of `benchmarks.methods` that the float32 student is."""
    return Run("softmax_ranking", min(budget, len(problem.pool.labels)), seed, "test", LEARNING_RATE, "", 1.0)


def float_student(problem: Problem, run: Run, folder: Path) -> keras.Model:
    """Returns the distilled float32 student, trained where `folder` does not hold it yet."""
    file = folder / f"float32-{run.seed}.keras"
    if not file.exists():
        keras.backend.clear_session()
        student = train(problem, run)
        with whole_file(file) as temporary:
            student.save(temporary)
    return keras.saving.load_model(file, compile=False)


def embed(student: keras.Model, pixels: np.ndarray) -> np.ndarray:
    """Returns float32 [n, D]."""
    return np.asarray(student.predict(pixels, batch_size=64, verbose=0))


def embedded_views(student: keras.Model, problem: Problem, run: Run) -> dict[str, np.ndarray]:
    """Returns `plain` float32 [n, D], and `weak` and `strong` [VIEWS, n, D], of the images that were asked about."""
    chosen = chosen_images(problem, run)
    sources, size = problem.sources[chosen], problem.settings.image_size
    weak, strong = [], []
    for view in range(VIEWS):
        seeds = [tf.constant([run.seed, view * len(chosen) + place]) for place in range(len(chosen))]
        pixels = tf.stack([augmented_view(image, size, seed) for image, seed in zip(sources, seeds, strict=True)])
        weak.append(embed(student, pixels.numpy()))
        changed = [
            strong_views(pixels[start : start + 64], tf.constant([run.seed, view * len(chosen) + start])).numpy()
            for start in range(0, len(chosen), 64)
        ]
        strong.append(embed(student, np.concatenate(changed)))
    return {
        "plain": embed(student, problem.pool.pixels[chosen]),
        "weak": np.stack(weak),
        "strong": np.stack(strong),
        "teacher": problem.pool.teacher[chosen],
    }


def start_head(views: dict[str, np.ndarray], bits: int, seed: int) -> keras.Model:
    """Returns the head alone, embedding float32 [B, D] to unit rows [B, K], as it is before training."""
    keras.utils.set_random_seed(seed)
    embedding = keras.Input(views["plain"].shape[1:], name="features")
    codes = HashHead(bits, name="hash")(embedding)
    head = keras.Model(embedding, keras.layers.UnitNormalization(name="embedding")(codes), name="head")
    initialise_hash_head(head, views["plain"], seed=seed)
    return head


def train_head(head: keras.Model, views: dict[str, np.ndarray], settings: HeadSettings, seed: int) -> None:
    """Trains the head in place by the loss of `HashDistiller`, on views embedded before."""
    interpolation = JointSpaceInterpolation(64, distribution="beta", alpha=0.3, seed=seed)
    distiller = HashDistiller(
        head,
        interpolation=interpolation,
        distillation=settings.distillation,
        quantisation=settings.quantisation,
        seed=seed,
    )
    schedule = keras.optimizers.schedules.CosineDecay(settings.learning_rate, settings.steps)
    loss = losses.get(
        "softmax_ranking",
        student_temperature=settings.student_temperature,
        teacher_temperature=settings.teacher_temperature,
    )
    distiller.compile(keras.optimizers.Adam(schedule), loss=loss)
    distiller.fit(
        _batches(views, settings.steps, seed), epochs=1, steps_per_epoch=settings.steps, shuffle=False, verbose=0
    )


def _batches(views: dict[str, np.ndarray], steps: int, seed: int, batch_size: int = 32) -> tf.data.Dataset:
    """Batches of different images, each in one of its weak and one of its strong views."""
    rng = np.random.default_rng((seed, 1))
    count = views["weak"].shape[1]
    size = min(batch_size, count)
    rows = np.stack([rng.permutation(count)[:size] for _ in range(steps)])
    weak, strong = (rng.integers(0, VIEWS, rows.shape) for _ in range(2))
    batches: Any = ((views["weak"][weak, rows], views["strong"][strong, rows]), views["teacher"][rows])
    return tf.data.Dataset.from_tensor_slices(batches)
