"""One run of `benchmarks.hashing`: a distilled student, and a hash head fitted behind its embedding."""

from pathlib import Path

import keras
import numpy as np

from benchmarks.methods.data import Problem
from benchmarks.methods.plan import Run
from benchmarks.methods.train import train
from kdistill.data.pipeline import changed_views
from kdistill.files.whole import whole_file
from kdistill.hashing.fitting import VIEWS, fit_hash_head
from kdistill.layers.hash_head import HashHead
from kdistill.runtimes.keras_models.keras_files import load_keras_file

LEARNING_RATE = 2e-4
"""Of the float32 student: what `benchmarks.methods` chose on validation images."""


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
    return load_keras_file(file)


def embed(student: keras.Model, pixels: np.ndarray) -> np.ndarray:
    """Returns float32 [n, D]."""
    return np.asarray(student.predict(pixels, batch_size=64, verbose=0))


def embedded_views(student: keras.Model, problem: Problem, seed: int) -> list[np.ndarray]:
    """Returns the embeddings of the views of the whole pool that heads are fitted to, each float32 [n, D].

    The student before the head does not change and is the same for every number of bits.
    """
    views = changed_views(problem.sources, problem.settings.student.image_size, VIEWS, seed=seed)
    return [embed(student, view) for view in views]


def fitted_head(plain: np.ndarray, views: list[np.ndarray], bits: int, seed: int) -> keras.Model:
    """Returns the head alone, embedding float32 [B, D] to unit rows [B, K].

    Args:
        plain: float32 [n, D], embeddings of the pool.
        views: of the same images.
        bits: K.
        seed: of the head.
    """
    keras.utils.set_random_seed(seed)
    embedding = keras.Input(plain.shape[1:], name="features")
    codes = HashHead(bits, name="hash")(embedding)
    head = keras.Model(embedding, keras.layers.UnitNormalization(name="embedding")(codes), name="head")
    fit_hash_head(head, plain, views, seed=seed)
    return head
