"""How far a merged student is from the unmerged one."""

import keras
import numpy as np


class MergeProbe(keras.callbacks.Callback):
    """At the end of the shrinking: how far the merged student is from the unmerged one."""

    def __init__(self, pixels: np.ndarray) -> None:
        """Takes uint8 [n, S, S, 3], the images that both are shown."""
        super().__init__()
        self.pixels, self.error = pixels, 0.0

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        """Compares."""
        self.error = merge_error(self.model.student, self.pixels)


def merge_error(compacted: keras.Model, pixels: np.ndarray) -> float:
    """Returns the largest difference between a student with compactors and its merged form, on the given images."""
    from kdistill.compression import close, merge

    close(compacted)
    merged = merge(compacted)
    batches = [pixels[start : start + 64] for start in range(0, len(pixels), 64)]
    return max(float(np.abs(np.asarray(compacted(batch)) - np.asarray(merged(batch))).max()) for batch in batches)
