"""Hamming distances of packed codes (`kdistill/hashing/codes.py`), and the exact nearest rows.

With codes of -1 and 1 instead of bits, the inner product of two rows is K - 2 d, d their Hamming distance: to rank by
the distance is to rank by the cosine of the codes.

Ties, of which there are many, go to the lower gallery row everywhere, as in all other rankings of this library.
"""

from collections.abc import Iterator

import numpy as np

from kdistill.errors import ArgumentError, KdistillError

BLOCK_BYTES = 2**18
"""Bytes of codes that are looked at together: they and what is made of them stay in a core's cache."""
_WORDS = ((8, np.uint64), (4, np.uint32), (2, np.uint16), (1, np.uint8))


def hamming_distances(query: np.ndarray, gallery: np.ndarray) -> np.ndarray:
    """Returns uint16 [G], how many bits of a code uint8 [K / 8] differ from each of the gallery's, uint8 [G, K / 8]."""
    check_codes(query[None], gallery)
    distances = np.empty(len(gallery), np.uint16)
    for start, found in _distances_by_block(query, gallery):
        distances[start : start + len(found)] = found
    return distances


def hamming_neighbours(
    queries: np.ndarray, gallery: np.ndarray, k: int, *, exclude: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the k nearest gallery rows of each query, nearest first, ties to the lower gallery row.

    Exact. Beside the arguments and the results it takes a few blocks of memory, however large the gallery is.

    Args:
        queries: uint8 [Q, K / 8].
        gallery: uint8 [G, K / 8], possibly memory-mapped.
        k: number of neighbours; cut to the number of rows that a query can have.
        exclude: int64 [Q], a gallery row that is left out for the query (itself), or -1.

    Returns:
        (distances int64 [Q, k], rows int64 [Q, k]).

    Raises:
        ArgumentError: k below 1, or nothing is left to find.
        KdistillError: arrays that are not packed codes of one length.
    """
    check_codes(queries, gallery)
    k = min(k, len(gallery) - (exclude is not None))
    if k < 1:
        raise ArgumentError("at least one neighbour must be asked for, in a gallery that holds one")
    nearest = np.empty((2, len(queries), k), np.int64)
    for number, query in enumerate(queries):
        nearest[:, number] = _nearest(query, gallery, k, -1 if exclude is None else int(exclude[number]))
    return nearest[0], nearest[1]


def check_codes(queries: np.ndarray, gallery: np.ndarray) -> None:
    """Raises KdistillError unless both are uint8 [n, K / 8] with one K, and not empty."""
    for name, codes in (("queries", queries), ("gallery", gallery)):
        if codes.dtype != np.uint8 or codes.ndim != 2 or 0 in codes.shape:
            raise KdistillError(
                f"the {name} are {codes.dtype} of shape {list(codes.shape)}, expected packed codes uint8 [n, K / 8]"
            )
    if queries.shape[1] != gallery.shape[1]:
        raise KdistillError(
            f"the queries have codes of {8 * queries.shape[1]} bits, those of the gallery have {8 * gallery.shape[1]}"
        )


def _nearest(query: np.ndarray, gallery: np.ndarray, k: int, left_out: int) -> tuple[np.ndarray, np.ndarray]:
    distances, rows = np.empty(0, np.int64), np.empty(0, np.int64)
    bar = 8 * len(query) + 1
    for start, block in _distances_by_block(query, gallery):
        # A later row at the distance of the last one found stands behind it.
        places = np.flatnonzero(block < bar)
        if start <= left_out < start + len(block):
            places = places[places != left_out - start]
        if not len(places):
            continue
        found = block[places]
        first = np.argsort(found, kind="stable")[:k]
        distances = np.concatenate([distances, found[first]])
        rows = np.concatenate([rows, start + places[first]])
        order = np.argsort(distances, kind="stable")[:k]
        distances, rows = distances[order], rows[order]
        if len(rows) == k:
            bar = int(distances[-1])
    return distances, rows


def _distances_by_block(query: np.ndarray, gallery: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yields (first row, distances [rows], valid until the next block) in the order of the gallery."""
    width = gallery.shape[1]
    word = next(word for size, word in _WORDS if width % size == 0)
    wanted = np.ascontiguousarray(query).view(word)
    rows = max(1, BLOCK_BYTES // width)
    for start in range(0, len(gallery), rows):
        words = np.ascontiguousarray(gallery[start : start + rows]).view(word)
        # Word by word: a row is too short for a loop of its own.
        distances: np.ndarray = np.zeros(len(words), np.uint8 if 8 * width < 256 else np.uint16)
        for column in range(words.shape[1]):
            distances += count_bits(words[:, column] ^ wanted[column])
        yield start, distances


_BITS_OF_BYTE = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).sum(axis=1, dtype=np.uint8)


def count_bits_by_table(words: np.ndarray) -> np.ndarray:
    """Returns the set bits of each word of any unsigned type [n], uint8 [n]; for numpy 1, which cannot count them."""
    octets = np.ascontiguousarray(words).view(np.uint8).reshape(len(words), -1)
    return _BITS_OF_BYTE[octets].sum(axis=1, dtype=np.uint8)


count_bits = getattr(np, "bitwise_count", count_bits_by_table)
