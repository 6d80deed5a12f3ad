"""Which candidates a comparing teacher is shown for a query: those that the student itself finds nearest."""

import numpy as np

from kdistill.errors import ArgumentError


def propose(features: np.ndarray, queries: np.ndarray, count: int) -> np.ndarray:
    """Returns int64 [m, count]: for each query, the rows nearest to it, the nearest first, itself left out.

    Args:
        features: float32 [n, C], L2-normalised, of the pool: of the student as it is.
        queries: int [m], rows.
        count: candidates of a query, 2 to n - 1.

    Raises:
        ArgumentError: a count out of range.
    """
    if not 2 <= count < len(features):
        raise ArgumentError(
            f"a query is compared with {count} candidates; of {len(features)} images it can be 2 to {len(features) - 1}"
        )
    chosen = np.empty((len(queries), count), np.int64)
    for start in range(0, len(queries), 256):
        block = np.asarray(queries[start : start + 256])
        cosines = features[block] @ features.T
        cosines[np.arange(len(block)), block] = -np.inf
        nearest = np.argpartition(-cosines, count - 1, axis=1)[:, :count]
        # Sorted by row first, so that equally near images come in one order whatever the partition did.
        nearest.sort(axis=1)
        order = np.argsort(-np.take_along_axis(cosines, nearest, axis=1), axis=1, kind="stable")
        chosen[start : start + 256] = np.take_along_axis(nearest, order, axis=1)
    return chosen
