"""Checkpoints to resume from, kept together with what they were made from."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from absl import logging

from kdistill.errors import KdistillError, first_line
from kdistill.files import made_from
from kdistill.training import optimizers
from kdistill.training.callbacks.steps import StepCallback

OURS = (
    "checkpoint",
    "ckpt-*",
    "best.npz",
    "callbacks-*.npz",
    "large",
    "shrinking",
    "small",
    "large.keras",
    "small.keras",
    ".*.part*",
)
"""What may be removed from a folder that has no identity: checkpoints as they were before there was one."""


class ResumableCheckpoint(StepCallback):
    """Saves weights, optimizer and progress at the end of each epoch; keeps the last two.

    Unlike Keras's BackupAndRestore it tells the number of steps before `fit`, so that the data pipeline starts there
    too, falls back on the checkpoint before when the last one is damaged, and takes up nothing that belongs to another
    training.
    """

    def __init__(
        self,
        model: keras.Model,
        directory: str | Path,
        identity: Mapping[str, Any] | None = None,
        keep: bool = True,
    ) -> None:
        """Takes the compiled model that will be trained.

        Args:
            model: the compiled model.
            directory: where the checkpoints are.
            identity: what the training is made from, as JSON: settings, digests of inputs, a version. It stands in
                `directory` (`made.json`). Where another one is found, or none, all that is in the folder is removed.
                None takes up whatever is there.
            keep: False for workers beside the chief, which read there and write nowhere; they take part in saving,
                since reading a variable may need all of them.
        """
        super().__init__()
        self.directory, self.identity, self.keep = Path(directory), identity, keep
        optimizers.create_variables(model.optimizer, model.trainable_variables)
        self.steps = tf.Variable(0, dtype=tf.int64, trainable=False)
        # Keras 3 hides from TensorFlow what an optimizer that scales the loss is put around.
        inner = getattr(model.optimizer, "inner_optimizer", None)
        scaled = {} if inner is None else {"inner_optimizer": inner}
        self.checkpoint = tf.train.Checkpoint(model=model, optimizer=model.optimizer, steps=self.steps, **scaled)
        self._opened: tf.train.CheckpointManager | None = None

    def restore(self) -> int:
        """Loads the newest checkpoint that can be read and returns the number of steps done (0: none).

        Raises:
            KdistillError: checkpoints exist and none can be read, those of an older version among them; or the folder
                holds something else.
        """
        if not self.keep and self.identity is not None and made_from.matches(self.directory, self.identity) is not None:
            # The chief removes them, now or before long.
            return 0
        manager = self._manager()
        for path in reversed(manager.checkpoints):
            try:
                self.checkpoint.restore(path).assert_existing_objects_matched()
                self.done = int(self.steps.numpy())
                return self.done
            except Exception as error:
                logging.warning("checkpoint %s cannot be read (%s); trying the one before", path, type(error).__name__)
        if manager.checkpoints:
            raise KdistillError(
                f"no checkpoint in {str(self.directory)!r} can be read; delete that folder to train from the start"
            )
        return 0

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Saves.

        Raises:
            KdistillError: the disk is full or the folder cannot be written.
        """
        self.steps.assign(self.done)
        if not self.keep:
            with tempfile.TemporaryDirectory() as folder:
                self.checkpoint.write(str(Path(folder) / "unused"))
            return
        try:
            self._manager().save()
        except tf.errors.OpError as error:
            reason = first_line(error).rpartition("}} ")[2]
            raise KdistillError(f"no checkpoint can be written to {str(self.directory)!r}: {reason}") from error

    def _manager(self) -> tf.train.CheckpointManager:
        """Returns what writes the checkpoints; the folder is this training's own from the first call on."""
        if self._opened is None:
            if self.keep and self.identity is not None:
                difference = made_from.claim(self.directory, self.identity, ours=OURS)
                if difference is not None:
                    logging.warning("training starts anew, what was in %s is removed: %s", self.directory, difference)
            self._opened = tf.train.CheckpointManager(self.checkpoint, str(self.directory), max_to_keep=2)
        return self._opened
