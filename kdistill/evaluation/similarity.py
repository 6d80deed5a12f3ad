"""Scores of queries against a gallery, block by block, within a memory budget.

The gallery may be a memory-mapped file larger than memory: only one block of it is looked at at a time, and pages of
a read-only mapping are handed back after use.
"""

import dataclasses
import mmap
from collections.abc import Iterator
from typing import Literal

import numpy as np

from kdistill.errors import ArgumentError, KdistillError
from kdistill.evaluation.stacked import StackedRows

Rows = np.ndarray | StackedRows
"""A gallery [G, D]: one array, possibly memory-mapped, or several seen as one."""

Similarity = Literal["cosine", "dot"]

BLOCK_BYTES = 16 * 2**20
"""Bytes of gallery in one block when the budget allows: long enough for full matrix-product speed."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """How a search is cut into pieces.

    Attributes:
        query_rows: queries that are worked on together.
        block_rows: gallery rows in one block.
        keep_scores: whether all scores of a piece, [query_rows, G] float32, are held at once. Otherwise they are
            computed a second time where they are needed twice.
    """

    query_rows: int
    block_rows: int
    keep_scores: bool


def plan(queries: int, gallery: int, dim: int, max_memory_mb: int) -> Plan:
    """Returns the pieces of a search of Q queries in G gallery rows of `dim` numbers.

    A third of the budget goes to scores, a third to the gallery block (which is converted, and so copied, when it is
    not float32) and its scores, and the rest to index arrays of the same order.

    Raises:
        ArgumentError: the budget is below 16 MiB.
    """
    if max_memory_mb < 16:
        raise ArgumentError(f"max_memory_mb is {max_memory_mb}, and evaluation needs at least 16")
    share = max_memory_mb * 2**20 // 3
    most = min(queries, 512)
    kept = share // (4 * gallery)
    keep_scores = kept >= min(most, 64)
    query_rows = min(most, kept) if keep_scores else most
    block_rows = min(gallery, BLOCK_BYTES // (4 * dim), share // (8 * dim + 16 * query_rows))
    return Plan(query_rows, max(1, block_rows), keep_scores)


def check_pair(queries: np.ndarray, gallery: Rows) -> None:
    """Raises KdistillError unless the arrays are non-empty matrices [Q, D] and [G, D] with one D."""
    for name, array in (("queries", queries), ("gallery", gallery)):
        if array.ndim != 2 or 0 in array.shape:
            raise KdistillError(f"the {name} are an array of shape {array.shape}, expected embeddings [n, dimension]")
    if queries.shape[1] != gallery.shape[1]:
        raise KdistillError(
            f"queries have dimension {queries.shape[1]} and the gallery has {gallery.shape[1]}: "
            "they come from different models"
        )


def unit_rows(rows: np.ndarray) -> np.ndarray:
    """Returns float32 rows [n, D] scaled to length 1; a row of zeros stays zero."""
    rows = np.asarray(rows, np.float32)
    lengths = np.sqrt(np.einsum("nd,nd->n", rows, rows, dtype=np.float64)).astype(np.float32)
    return rows / np.where(lengths > 0, lengths, 1)[:, None]


def score_blocks(
    queries: np.ndarray, gallery: Rows, block_rows: int, similarity: Similarity
) -> Iterator[tuple[int, np.ndarray]]:
    """Yields (first gallery row, scores float32 [Q, rows]) for each gallery block, in order.

    Repeating the call with the same arguments gives the same scores to the last bit.

    Args:
        queries: [Q, D].
        gallery: [G, D], any float or integer type, possibly memory-mapped.
        block_rows: rows of a block; the last block may be shorter.
        similarity: "cosine", or "dot" when all rows are known to have length 1 (or length shall count).

    Raises:
        KdistillError: an embedding that is not finite.
    """
    if similarity not in ("cosine", "dot"):
        raise ArgumentError(f"similarity {similarity!r} is unknown, expected cosine or dot")
    prepare = unit_rows if similarity == "cosine" else lambda rows: np.asarray(rows, np.float32)
    rows_of_queries = prepare(queries)
    for start in range(0, gallery.shape[0], block_rows):
        scores = rows_of_queries @ prepare(gallery[start : start + block_rows]).T
        if not np.isfinite(scores.sum()):
            _raise_not_finite(queries, start, scores)
        release_pages(gallery, start, start + block_rows)
        yield start, scores


def release_pages(rows: Rows, start: int, stop: int) -> None:
    """Tells the system that rows [start, stop) of read-only memory mappings are not needed any more.

    The pages stay in the file cache; they only stop counting as memory of this process. Writable arrays are left
    alone: for a copy-on-write mapping the same advice would discard changes.
    """
    if isinstance(rows, StackedRows):
        for part, first, last in rows.pieces(start, stop):
            release_pages(part, first, last)
        return
    mapping = rows.base
    while isinstance(mapping, np.ndarray):
        mapping = mapping.base
    if rows.flags.writeable or not isinstance(mapping, mmap.mmap) or not rows.flags.c_contiguous:
        return
    offset = rows.ctypes.data - np.frombuffer(mapping, np.uint8).ctypes.data
    first_byte = offset + start * rows.strides[0]
    first_byte -= first_byte % mmap.PAGESIZE
    length = min(offset + stop * rows.strides[0], len(mapping)) - first_byte
    if length > 0 and hasattr(mmap, "MADV_DONTNEED"):
        mapping.madvise(mmap.MADV_DONTNEED, first_byte, length)


def _raise_not_finite(queries: np.ndarray, start: int, scores: np.ndarray) -> None:
    bad = np.argwhere(~np.isfinite(scores))
    if not len(bad):
        return
    row, column = (int(index) for index in bad[0])
    name, index = ("query", row) if not np.isfinite(queries[row]).all() else ("gallery", start + column)
    raise KdistillError(f"the embedding of {name} row {index} is not finite (NaN or infinite)")
