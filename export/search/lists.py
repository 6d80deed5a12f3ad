"""Rows in blocks by where they lie, so that a search of a very large gallery reads a few of the blocks only.

Rows are shared out by spherical k-means on a sample, and each share is halved along its longest direction into blocks.
All blocks have as many slots, since operators gather blocks of one size; slots that stay empty are told by a row number
of -1. Filling every block with rows of elsewhere instead would lose these rows: one neighbour in a hundred then stood
in a block that no search read. How many blocks a search reads is chosen by its recall (`first_pass.py`).
"""

import dataclasses
import itertools
import math
from collections.abc import Iterator

import numpy as np

MIN_ROWS = 2**16
"""Smaller galleries are scanned faster by the dense layer."""
SLOTS = 64
"""Rows of a block, at most."""
DEPTH = 8
"""Slots of which one maximum is taken."""
_SHARE = 12
"""Blocks in a share of k-means, on average."""
_SAMPLE, _STEPS, _TURNS = 40, 8, 4
_CHUNK = 8192


@dataclasses.dataclass(frozen=True, eq=False)
class Lists:
    """Which rows stand together.

    Attributes:
        centres: float32 [N, D], of norm 1; blocks are ranked by their products with the query.
        of_rows: int32 [G], the block of each row; at most SLOTS rows have the same.
        probes: blocks that a search reads.
    """

    centres: np.ndarray
    of_rows: np.ndarray
    probes: int

    def rows_of_slots(self) -> np.ndarray:
        """Returns int32 [N * SLOTS], the row in each slot; -1 for none."""
        order = np.argsort(self.of_rows, kind="stable")
        sizes = np.bincount(self.of_rows, minlength=len(self.centres))
        inside = np.arange(len(order)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        rows = np.full(len(self.centres) * SLOTS, -1, np.int32)
        rows[self.of_rows[order].astype(np.int64) * SLOTS + inside] = order
        return rows

    def with_rows(self, embeddings: np.ndarray) -> "Lists":
        """Returns the blocks with rows appended, float32 [n, D]: new blocks, by where these rows lie."""
        new = build_lists(embeddings)
        return Lists(
            np.concatenate([self.centres, new.centres]),
            np.concatenate([self.of_rows, len(self.centres) + new.of_rows]),
            self.probes + math.ceil(self.probes * len(new.centres) / len(self.centres)),
        )

    def kept(self, keep: np.ndarray) -> "Lists":
        """Returns the blocks of the rows where bool [G] `keep` is true."""
        return dataclasses.replace(self, of_rows=self.of_rows[keep])


def lists_of(centres: np.ndarray, rows_of_slots: np.ndarray, probes: int) -> tuple[Lists, np.ndarray]:
    """Returns the blocks that a file holds, and int64 [G], the slot of each row: the reverse of `rows_of_slots`."""
    slots = np.flatnonzero(rows_of_slots >= 0)
    slots = slots[np.argsort(rows_of_slots[slots], kind="stable")]
    return Lists(centres, (slots // SLOTS).astype(np.int32), probes), slots


def build_lists(embeddings: np.ndarray) -> Lists:
    """Returns blocks of rows float [G, D] of norm 1, which may be memory-mapped; `probes` takes them all."""
    of_shares = _shares(embeddings)
    order = np.argsort(of_shares, kind="stable")
    edges = np.r_[0, np.cumsum(np.bincount(of_shares))]
    of_rows = np.empty(len(embeddings), np.int32)
    centres: list[np.ndarray] = []
    for start, stop in itertools.pairwise(edges):
        members = order[start:stop]
        vectors = np.asarray(embeddings[members], np.float32)
        for part in _halved(vectors, np.arange(len(members))):
            of_rows[members[part]] = len(centres)
            centre = vectors[part].sum(axis=0)
            centres.append(centre / max(float(np.linalg.norm(centre)), 1e-9))
    return Lists(np.stack(centres), of_rows, len(centres))


def _shares(embeddings: np.ndarray) -> np.ndarray:
    """Returns int64 [G], the share of each row: the nearest of the centres of k-means on a sample."""
    rows = len(embeddings)
    count = max(1, rows // (_SHARE * SLOTS))
    rng = np.random.default_rng(0)
    sample = np.asarray(embeddings[np.sort(rng.choice(rows, min(rows, _SAMPLE * count), replace=False))], np.float32)
    centres = sample[rng.choice(len(sample), count, replace=False)]
    for _ in range(_STEPS):
        nearest = _nearest(sample, centres)
        sizes = np.bincount(nearest, minlength=count)
        filled = np.flatnonzero(sizes)
        sums = np.zeros_like(centres)
        sums[filled] = np.add.reduceat(
            sample[np.argsort(nearest, kind="stable")], (np.cumsum(sizes) - sizes)[filled], axis=0
        )
        # Shares of few rows would be mostly empty slots: their centres halve the fullest shares instead.
        mean = len(sample) / count
        small = np.flatnonzero(sizes < 0.3 * mean)
        full = np.argsort(-sizes)[: len(small)]
        full = full[sizes[full] > 1.5 * mean]
        if len(full):
            sums[small[: len(full)]] = sample[[rng.choice(np.flatnonzero(nearest == number)) for number in full]]
        norms = np.linalg.norm(sums, axis=1, keepdims=True)
        centres = np.where(norms > 1e-6, sums / np.maximum(norms, 1e-6), centres)
    return _nearest(embeddings, centres)


def _halved(vectors: np.ndarray, members: np.ndarray) -> Iterator[np.ndarray]:
    """Yields groups of at most SLOTS of the members (rows of `vectors`), all but one of them full."""
    if len(members) <= SLOTS:
        if len(members):
            yield members
        return
    here = vectors[members]
    here = here - here.mean(axis=0)
    # The longest direction, by a few steps of the power method.
    direction = here[np.argmax(np.einsum("nd,nd->n", here, here))]
    for _ in range(_TURNS):
        direction = (here @ direction) @ here
        direction /= max(float(np.linalg.norm(direction)), 1e-12)
    members = members[np.argsort(here @ direction, kind="stable")]
    left = SLOTS * (math.ceil(len(members) / SLOTS) // 2)
    yield from _halved(vectors, members[:left])
    yield from _halved(vectors, members[left:])


def _nearest(embeddings: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Returns int64 [n], the nearest centre of each row."""
    parts = range(0, len(embeddings), _CHUNK)
    return np.concatenate(
        [(np.asarray(embeddings[start : start + _CHUNK], np.float32) @ centres.T).argmax(axis=1) for start in parts]
    )
