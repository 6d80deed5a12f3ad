"""A loss that is not finite ends the training."""

from collections.abc import Callable, Sequence

import numpy as np

from kdistill.errors import KdistillError
from kdistill.training.callbacks.steps import StepCallback


class StopOnNaN(StepCallback):
    """Stops the run at the first loss that is not finite, before it is saved; the last good checkpoint stays."""

    def __init__(self, first_step: int = 0, ids_of: Callable[[int], Sequence[str]] | None = None) -> None:
        """Takes the number of steps done before, and what names the culprits: the ids of a step's batch (from 0)."""
        super().__init__(first_step)
        self.ids_of = ids_of

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Checks the running mean of the loss, which is that of the steps so far."""
        super().on_train_batch_end(batch, logs)
        loss = (logs or {}).get("loss", 0.0)
        if not np.isfinite(loss):
            step = self.done - 1
            batch_ids = "" if self.ids_of is None else f"; its images: {', '.join(map(repr, self.ids_of(step)))}"
            raise KdistillError(
                f"the loss became {loss} at step {step + 1}; lower --learning_rate "
                f"(the last good checkpoint is kept){batch_ids}"
            )
