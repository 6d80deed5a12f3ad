"""The best student on the way of a training, by a figure in the logs."""

from collections.abc import Collection
from pathlib import Path

import keras
import numpy as np

from kdistill.files.archives import load_arrays
from kdistill.files.whole import write_arrays
from kdistill.training.callbacks.steps import StepCallback


class BestWeights(StepCallback):
    """Keeps the weights of the step at which a figure was highest (the later of equals), also through interruptions.

    Unlike Keras's ModelCheckpoint it looks at given steps alone, so that pauses for other reasons do not change what is
    kept, and knows of none that an interrupted training has still to take again. Place it behind the callback that
    writes the figure into the logs.
    """

    def __init__(
        self,
        student: keras.Model,
        file: str | Path,
        *,
        steps: Collection[int],
        monitor: str = "val_overlap_at_10",
        keep: bool = True,
    ) -> None:
        """Takes the network and what it is judged by.

        Args:
            student: whose weights are kept; a part of the model in training.
            file: where they lie meanwhile (`.npz`), in a folder that belongs to this training alone.
            steps: counted from 1, those that can be the best one.
            monitor: the figure's name in the logs.
            keep: False for workers beside the chief, which write nothing.
        """
        super().__init__()
        self.student, self.file, self.steps = student, Path(file), frozenset(steps)
        self.monitor, self.keep = monitor, keep
        self.step, self.value = 0, -np.inf
        self._weights: list[np.ndarray] = []

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Takes up what an interrupted training kept, unless it is of a step that comes again."""
        if not self.file.is_file():
            return
        names = ("step", "value", *(f"weight_{number}" for number in range(len(self.student.weights))))
        step, value, *weights = load_arrays(self.file, names)
        if int(step) <= self.done:
            self.step, self.value, self._weights = int(step), float(value), weights

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Keeps the weights where this step is the best one so far."""
        value = (logs or {}).get(self.monitor)
        if self.done not in self.steps or value is None or value < self.value:
            return
        self.step, self.value, self._weights = self.done, float(value), self.student.get_weights()
        if self.keep:
            arrays = {f"weight_{number}": weight for number, weight in enumerate(self._weights)}
            write_arrays(self.file, step=np.array(self.step), value=np.array(self.value), **arrays)

    def put_back(self) -> tuple[int, float]:
        """Gives the student its best weights, and returns their step and figure."""
        if not self._weights:  # nothing was left to train
            self.on_train_begin()
        if self.step != self.done and self._weights:
            self.student.set_weights(self._weights)
        return self.step, self.value
