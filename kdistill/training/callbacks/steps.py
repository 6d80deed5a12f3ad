"""A callback that knows how many steps of the training are done, whatever the length of its epochs."""

from typing import Any

import keras


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
