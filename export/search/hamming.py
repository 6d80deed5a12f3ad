"""How the codes of a gallery are laid out in a retriever, so that the exact search keeps the library's order of ties.

As with float scores (`layout.py`), the best k rows lie in the k blocks with the best rows. Here most rows are
tied, so a block is a run of rows that follow each other: of two blocks that are equally good the earlier one holds the
earlier rows, and wherever the runtime's top-k leaves ties to the lower place, the whole search leaves them to the lower
row. Rows behind the last whole block are compared directly: code rows have no value that could mark padding.
"""

import dataclasses
import math

import numpy as np


@dataclasses.dataclass(frozen=True)
class Runs:
    """G rows as `blocks` runs of `depth` rows and a tail of fewer than `depth`.

    Attributes:
        blocks: number of runs; 0 where all rows are compared directly.
        depth: rows of a run.
        tail: rows behind the last run.
    """

    blocks: int
    depth: int
    tail: int

    @property
    def main(self) -> int:
        """Rows in whole runs."""
        return self.blocks * self.depth


def runs(gallery_size: int, k: int) -> Runs:
    """Returns the layout that makes the two top-k, over the runs and inside the best of them, about equal."""
    depth = round(math.sqrt(gallery_size / k))
    if depth < 4:
        return Runs(0, 1, gallery_size)
    return Runs(gallery_size // depth, depth, gallery_size % depth)


def interleaved(rows: np.ndarray, layout: Runs) -> np.ndarray:
    """Returns rows [blocks * depth, ...] line by line: first the first row of each run, then the second of each."""
    return np.ascontiguousarray(rows.reshape(layout.blocks, layout.depth, *rows.shape[1:]).swapaxes(0, 1)).reshape(
        rows.shape
    )


def in_order(rows: np.ndarray, layout: Runs) -> np.ndarray:
    """Undoes `interleaved`."""
    return np.ascontiguousarray(rows.reshape(layout.depth, layout.blocks, *rows.shape[1:]).swapaxes(0, 1)).reshape(
        rows.shape
    )
