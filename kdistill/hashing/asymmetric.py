"""Search of binary codes by an embedding that is not made binary: the rows stay bits, the query keeps its numbers.

The score of a row is the cosine of the query with the row's code as a vector of -1 and 1. Known as the asymmetric
distance (Gordo et al., "Asymmetric Distances for Binary Embeddings", IEEE TPAMI 2014): the index is that of a Hamming
search, and only half of what quantisation loses is lost.
"""

import numpy as np

from kdistill.errors import ArgumentError, KdistillError
from kdistill.hashing.hamming import check_codes

BLOCK_ROWS = 2**17
"""Rows that are looked up together; what is made of them takes half a megabyte."""
RUN_ROWS = 256
"""Rows of which only the best score is looked at first."""
_SIGNS = 2.0 * np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1) - 1.0
"""float64 [256, 8], the bits of every byte as -1 and 1."""


def asymmetric_scores(query: np.ndarray, gallery: np.ndarray) -> np.ndarray:
    """Returns float32 [G], <q, c> / (|q| sqrt(K)) of a query float [K] with codes c uint8 [G, K / 8] as -1 and 1.

    Rows of one code have exactly the same score.

    Raises:
        KdistillError: arrays that do not fit, or a query that is not finite or has no direction.
    """
    tables = _tables(query, gallery)
    scores = np.empty(len(gallery), np.float32)
    for start in range(0, len(gallery), BLOCK_ROWS):
        scores[start : start + BLOCK_ROWS] = _looked_up(tables, gallery[start : start + BLOCK_ROWS])
    return scores


def asymmetric_neighbours(
    queries: np.ndarray, gallery: np.ndarray, k: int, *, exclude: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the k rows of the highest scores for each query, best first, ties to the lower gallery row.

    Exact. Beside the arguments and the results it takes the memory of one query's scores.

    Args:
        queries: float [Q, K], embeddings of a student with a `HashHead`.
        gallery: uint8 [G, K / 8], possibly memory-mapped.
        k: number of neighbours; cut to the number of rows that a query can have.
        exclude: int64 [Q], a gallery row that is left out for the query (itself), or -1.

    Returns:
        (scores float32 [Q, k], rows int64 [Q, k]).

    Raises:
        ArgumentError: k below 1, or nothing is left to find.
        KdistillError: as `asymmetric_scores`.
    """
    k = min(k, len(gallery) - (exclude is not None))
    if k < 1:
        raise ArgumentError("at least one neighbour must be asked for, in a gallery that holds one")
    best, rows = np.empty((len(queries), k), np.float32), np.empty((len(queries), k), np.int64)
    for number, query in enumerate(queries):
        scores = asymmetric_scores(query, gallery)
        if exclude is not None and exclude[number] >= 0:
            scores[exclude[number]] = -np.inf
        places = np.flatnonzero(scores >= _bar(scores, k))
        rows[number] = places[np.argsort(-scores[places], kind="stable")[:k]]
        best[number] = scores[rows[number]]
    return best, rows


def _bar(scores: np.ndarray, k: int) -> float:
    """Returns a number that at least k scores reach, and in large galleries few more do: the k-th best of the runs."""
    best = np.maximum.reduceat(scores, np.arange(0, len(scores), RUN_ROWS))
    return -np.inf if len(best) < k else float(np.partition(best, len(best) - k)[len(best) - k])


def _tables(query: np.ndarray, gallery: np.ndarray) -> list[np.ndarray]:
    """Returns for every byte of a code, or every two where their number is even, what each of its values adds."""
    query = np.asarray(query, np.float64)
    check_codes(gallery[:1], gallery)
    if query.shape != (8 * gallery.shape[1],):
        raise KdistillError(
            f"the query has the shape {list(query.shape)}, the gallery has codes of {8 * gallery.shape[1]} bits"
        )
    norm = float(np.linalg.norm(query))
    if not np.isfinite(norm) or norm == 0:
        raise KdistillError("the query is not finite or all 0, so it has no cosine with a code")
    octets = _SIGNS @ (query / (norm * len(query) ** 0.5)).reshape(-1, 8).T
    columns = [octets[:, place] for place in range(octets.shape[1])]
    if len(columns) % 2 == 0:
        # The first of two bytes is the low one of a little-endian word.
        pairs = zip(columns[::2], columns[1::2], strict=True)
        columns = [(high[:, None] + low[None, :]).ravel() for low, high in pairs]
    return [column.astype(np.float32) for column in columns]


def _looked_up(tables: list[np.ndarray], codes: np.ndarray) -> np.ndarray:
    words = np.ascontiguousarray(codes).view("<u2" if len(tables[0]) > 256 else np.uint8)
    total = np.take(tables[0], words[:, 0])
    for column, table in enumerate(tables[1:], start=1):
        total += np.take(table, words[:, column])
    return total
