"""One training of `benchmarks.training.distributed`, alone or as one of the workers of a strategy."""

import argparse
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kdistill import students
from kdistill.data import load_pixels
from kdistill.data.digits import digits_data
from kdistill.data.layouts.lists import read_list
from kdistill.data.pipeline import training_batches
from kdistill.layers import JointSpaceInterpolation
from kdistill.training.distiller import Distiller
from kdistill.training.distributed_fit import distributed_batches, distributed_fit
from kdistill.training.distribution import copy_of, is_chief, strategy_of


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
            lengths=[1] * arguments.steps,
            verbose=0,
            callbacks=callbacks,
        )
    if not is_chief(strategy):
        return None
    result = {"loss": history.history["loss"], "seconds": times.seconds}
    if arguments.weights_folder and strategy is not None:
        result["update_differences"] = callbacks[1].update_differences
    return result
