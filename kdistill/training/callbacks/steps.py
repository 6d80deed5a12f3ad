"""Callbacks about steps: how many of the training are done, whatever the length of its epochs, and the first one."""

import time
from typing import Any

import keras
from absl import logging


class StepCallback(keras.callbacks.Callback):
    """Counts steps.

    Attributes:
        done: steps of the whole training that are done. `kdistill.training.fit.train` sets it where a training
            continues; with `fit`, give the number that `ResumableCheckpoint.restore` returned as `first_step`.
    """

    def __init__(self, first_step: int = 0) -> None:
        """Takes the number of steps that were done before."""
        super().__init__()
        self.done = first_step
        self._before = first_step

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Remembers where the epoch begins."""
        self._before = self.done

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Counts; with several steps in one execution, `batch` may point beyond the end of the epoch."""
        length = self.params.get("steps") or batch + 1
        self.done = self._before + min(batch + 1, length)


class FirstStep(keras.callbacks.Callback):
    """Tells once how long the first step took to come: photos may still be read while training goes on."""

    def __init__(self, began: float) -> None:
        """Takes when the work began, as `time.monotonic` tells it."""
        super().__init__()
        self._began: float | None = began

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Logs it."""
        if self._began is not None:
            logging.info("the first step was done after %.1f s", time.monotonic() - self._began)
            self._began = None
