"""Scores of queries against a gallery, block by block, within a memory budget.

The gallery may be a memory-mapped file larger than memory: only a few blocks of it are looked at at a time, and pages
of a read-only mapping are handed back after use.
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, TypeVar

import numpy as np

from kdistill.data.mapping import CORES
from kdistill.errors import ArgumentError, KdistillError
from kdistill.evaluation.blockwise.blocks import BlockReader, Rows
from kdistill.evaluation.blockwise.product import inner_products

Similarity = Literal["cosine", "dot"]
Result = TypeVar("Result")

BLOCK_BYTES = 16 * 2**20
"""Bytes of gallery in one block when the budget allows: enough to make the work around a product small."""

PIECE_BYTES = 2 * 2**20
"""Bytes of gallery that are read and multiplied at once: they are still in a core's cache when the product begins."""

WORKERS = min(8, CORES)
"""Blocks that are worked on at the same time: one a core."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """How a search is cut into pieces.

    Attributes:
        query_rows: queries that are worked on together.
        block_rows: gallery rows in one block.
        workers: blocks at the same time.
    """

    query_rows: int
    block_rows: int
    workers: int

    def starts(self, gallery_rows: int) -> list[int]:
        """Returns the first row of each block of a gallery."""
        return list(range(0, gallery_rows, self.block_rows))


def plan(queries: int, gallery: int, dim: int, max_memory_mb: int) -> Plan:
    """Returns the pieces of a search of Q queries in G gallery rows of `dim` numbers.

    Three quarters of the budget go to blocks: the gallery's rows and a converted copy, their scores and temporaries of
    the same size; the rest is for results.

    Raises:
        ArgumentError: the budget is below 16 MiB.
    """
    if max_memory_mb < 16:
        raise ArgumentError(f"max_memory_mb is {max_memory_mb}, and evaluation needs at least 16")
    query_rows = min(queries, 512)
    row_bytes = 8 * dim + 16 * query_rows
    budget = max_memory_mb * 2**20 * 3 // 4
    block_rows = max(1, min(gallery, BLOCK_BYTES // (4 * dim), budget // (WORKERS * row_bytes)))
    workers = max(1, min(WORKERS, budget // (block_rows * row_bytes), -(-gallery // block_rows)))
    return Plan(query_rows, block_rows, workers)


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
    lengths = np.sqrt(np.einsum("nd,nd->n", rows, rows))
    # Infinite entries become NaN here and are refused by name later.
    with np.errstate(invalid="ignore"):
        return rows / np.where(lengths > 0, lengths, 1)[:, None]


def prepared(rows: np.ndarray, similarity: Similarity) -> np.ndarray:
    """Returns float32 rows [n, D] whose inner products are the scores."""
    if similarity not in ("cosine", "dot"):
        raise ArgumentError(f"similarity {similarity!r} is unknown, expected cosine or dot")
    return unit_rows(rows) if similarity == "cosine" else np.asarray(rows, np.float32)


def map_blocks(
    function: Callable[[int, np.ndarray], Result],
    queries: np.ndarray,
    gallery: Rows,
    cut: Plan,
    similarity: Similarity,
    starts: Sequence[int] | None = None,
) -> Iterator[Result]:
    """Yields `function(first gallery row, scores float32 [Q, rows])` of each block, in the order of `starts`.

    Several blocks are worked on at a time, so `function` is called from several threads; it may change the scores. A
    block's scores are the same to the last bit each time they are computed.

    Args:
        function: what to do with a block.
        queries: [Q, D], at most `cut.query_rows`.
        gallery: [G, D], any float or integer type, possibly memory-mapped.
        cut: pieces.
        similarity: "cosine", or "dot" when all rows are known to have length 1 (or length shall count).
        starts: first rows of the blocks that are wanted, from `cut.starts`; None for all.

    Raises:
        KdistillError: an embedding that is not finite.
    """
    queries = np.ascontiguousarray(prepared(queries, similarity))
    _check_finite(queries, "query", 0)

    def piece(start: int, stop: int) -> np.ndarray:
        rows = prepared(reader.rows(start, stop), similarity)
        scores = inner_products(queries, rows)
        if not np.isfinite(scores.sum()):
            _check_finite(rows, "gallery row", start)
        return scores

    def work(start: int) -> Result:
        stop = min(start + cut.block_rows, gallery.shape[0])
        edges = itertools.pairwise([*range(start, stop, piece_rows), stop])
        scores = np.concatenate([piece(*edge) for edge in edges], axis=1)
        reader.done(start, stop)
        return function(start, scores)

    piece_rows = max(1, PIECE_BYTES // (4 * gallery.shape[1]))
    reader = BlockReader(gallery)
    pool = ThreadPoolExecutor(cut.workers)
    try:
        yield from pool.map(work, cut.starts(gallery.shape[0]) if starts is None else starts)
    finally:
        pool.shutdown(cancel_futures=True)
        reader.close()


def _check_finite(rows: np.ndarray, name: str, start: int) -> None:
    finite = np.isfinite(rows).all(axis=1)
    if not finite.all():
        raise KdistillError(f"the embedding of {name} {start + int(np.argmin(finite))} is not finite (NaN or infinite)")
