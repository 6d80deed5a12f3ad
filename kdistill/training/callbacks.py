"""Callbacks for `fit`: retrieval quality while training, a record of it, checkpoints to resume from."""

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from kdistill import students
from kdistill.data.images import resize
from kdistill.errors import KdistillError, first_line
from kdistill.evaluation import evaluate_leave_one_out, evaluate_query_gallery
from kdistill.files.whole import write_whole


class RetrievalEvaluation(keras.callbacks.Callback):
    """Adds `val_map` and `val_recall_at_1` to the logs at the end of an epoch.

    With queries it searches the gallery for them, without it searches the gallery leave-one-out. Place it before
    EarlyStopping, ModelCheckpoint and TensorBoard, so that they find the values (`mode="max"`).
    """

    def __init__(
        self,
        gallery: np.ndarray,
        gallery_labels: np.ndarray,
        queries: np.ndarray | None = None,
        query_labels: np.ndarray | None = None,
        every: int = 1,
        batch_size: int = 64,
    ) -> None:
        """Keeps images uint8 [n, H, W, 3], resized to the student's input, and labels int [n].

        Args:
            gallery: the images that are searched.
            gallery_labels: int [G].
            queries: the images that search, or None for leave-one-out.
            query_labels: int [Q].
            every: evaluate at every so many epochs, and at the last.
            batch_size: images a forward pass.
        """
        super().__init__()
        if (queries is None) != (query_labels is None):
            raise KdistillError("RetrievalEvaluation takes queries and query_labels together, or neither")
        self.gallery, self.gallery_labels = gallery, np.asarray(gallery_labels)
        self.queries, self.query_labels = queries, query_labels
        self.every, self.batch_size = every, batch_size

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Evaluates and writes into `logs`."""
        if (epoch + 1) % self.every and epoch + 1 != self.params["epochs"]:
            return
        student = getattr(self.model, "student", self.model)
        gallery = self._embed(student, self.gallery)
        if self.queries is None or self.query_labels is None:
            scores = evaluate_leave_one_out(gallery, self.gallery_labels)
        else:
            queries = self._embed(student, self.queries)
            scores = evaluate_query_gallery(queries, gallery, self.query_labels, self.gallery_labels)
        values = scores.as_dict()
        if logs is not None:
            logs["val_map"], logs["val_recall_at_1"] = values["map"], values["recall_at_1"]

    def _embed(self, student: keras.Model, images: np.ndarray) -> np.ndarray:
        size = students.image_size(student)
        batches = (images[start : start + self.batch_size] for start in range(0, len(images), self.batch_size))
        return np.concatenate(
            [student(np.stack([resize(image, size) for image in batch]), training=False).numpy() for batch in batches]
        )


class HistoryFile(keras.callbacks.Callback):
    """Appends one JSON line an epoch (`step`, the logs) to a file; a resumed run continues it."""

    def __init__(self, path: str | Path, steps_per_epoch: int, extra: Mapping[str, Any] | None = None) -> None:
        """Takes the file, the length of an epoch in steps, and constants to add to each line (queries spent)."""
        super().__init__()
        self.path, self.steps_per_epoch, self.extra = Path(path), steps_per_epoch, dict(extra or {})

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Writes the line, replacing lines of the same or later steps that an interrupted run left."""
        step = (epoch + 1) * self.steps_per_epoch
        kept = [line for line in read_history(self.path) if line["step"] < step]
        kept.append({"step": step, **self.extra, **{name: float(value) for name, value in (logs or {}).items()}})
        write_whole(self.path, "".join(json.dumps(line) + "\n" for line in kept))


def read_history(path: str | Path) -> list[dict[str, Any]]:
    """Returns the lines that HistoryFile wrote, oldest first."""
    file = Path(path)
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


class ResumableCheckpoint(keras.callbacks.Callback):
    """Saves weights, optimizer and progress at the end of each epoch; keeps the last two.

    Unlike Keras's BackupAndRestore it tells the first epoch before `fit`, so that the data pipeline starts there too,
    and falls back on the checkpoint before when the last one is damaged.
    """

    def __init__(self, model: keras.Model, directory: str | Path, keep: bool = True) -> None:
        """Takes the compiled model that `fit` will train.

        Args:
            model: the compiled model.
            directory: where the checkpoints are.
            keep: False for workers beside the chief, which read there and write nowhere; they take part in saving,
                since reading a variable may need all of them.
        """
        super().__init__()
        self.keep = keep
        model.optimizer.build(model.trainable_variables)
        self.epoch = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.checkpoint = tf.train.Checkpoint(model=model, optimizer=model.optimizer, epoch=self.epoch)
        self.manager = tf.train.CheckpointManager(self.checkpoint, str(directory), max_to_keep=2)

    def restore(self) -> int:
        """Loads the newest checkpoint that can be read and returns the number of finished epochs (0: none).

        Raises:
            KdistillError: checkpoints exist and none can be read.
        """
        for path in reversed(self.manager.checkpoints):
            try:
                self.checkpoint.restore(path).assert_existing_objects_matched()
                return int(self.epoch.numpy())
            except Exception as error:
                logging.warning("checkpoint %s cannot be read (%s); trying the one before", path, type(error).__name__)
        if self.manager.checkpoints:
            raise KdistillError(
                f"no checkpoint in {self.manager.directory!r} can be read; delete that folder to train from the start"
            )
        return 0

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Saves.

        Raises:
            KdistillError: the disk is full or the folder cannot be written.
        """
        self.epoch.assign(epoch + 1)
        if not self.keep:
            with tempfile.TemporaryDirectory() as folder:
                self.checkpoint.write(str(Path(folder) / "unused"))
            return
        try:
            self.manager.save()
        except tf.errors.OpError as error:
            reason = first_line(error).rpartition("}} ")[2]
            raise KdistillError(f"no checkpoint can be written to {self.manager.directory!r}: {reason}") from error


class StopOnNaN(keras.callbacks.Callback):
    """Stops the run at the first loss that is not finite, before it is saved; the last good checkpoint stays."""

    def __init__(self, steps_per_epoch: int = 0, ids_of: Callable[[int], Sequence[str]] | None = None) -> None:
        """Takes what names the culprits: the length of an epoch in steps, and the ids of a step's batch (from 0)."""
        super().__init__()
        self.steps_per_epoch, self.ids_of = steps_per_epoch, ids_of
        self._epoch = 0

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Remembers the epoch."""
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Checks the running mean of the loss, which is that of the steps so far."""
        loss = (logs or {}).get("loss", 0.0)
        if not np.isfinite(loss):
            step = self._epoch * self.steps_per_epoch + batch
            batch_ids = "" if self.ids_of is None else f"; its images: {', '.join(map(repr, self.ids_of(step)))}"
            raise KdistillError(
                f"the loss became {loss} at step {step + 1}; lower --learning_rate "
                f"(the last good checkpoint is kept){batch_ids}"
            )
