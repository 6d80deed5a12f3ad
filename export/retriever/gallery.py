"""The gallery of a retriever: embeddings as they are stored in the file, and the ids of their rows.

Long, since rows that are added are checked, centred and coded as those that a gallery is built from.
"""

import collections
import dataclasses
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np

from export.search.first_pass import FirstPass, choose_first_pass
from export.search.layout import shortlist
from export.search.lists import Lists
from export.search.outside_queries import outside_queries
from export.search.recall_bound import Measured
from kdistill.errors import ArgumentError, KdistillError
from kdistill.hashing.codes import pack_codes, unpack_codes

CODES = ("binary", "asymmetric")
"""Binary codes, searched by the query's code (Hamming distance) or by the query's embedding itself."""
PRECISIONS = ("float32", "float16", "int8", *CODES)
RESIDUAL_STEPS = 254
"""A residual code counts in 254ths of the row's scale: rounding leaves at most half a step, 127 codes."""
NORM_TOLERANCE = 0.02
_CHUNK = 65536  # rows handled at once, so that a memory-mapped matrix never stands in memory as a whole


@dataclasses.dataclass(frozen=True, eq=False)
class Gallery:
    """Stored rows.

    Attributes:
        values: float32, float16 or int8 [G, D]; for binary and asymmetric, packed codes uint8 [G, D / 8].
        scale: float32 [G] for int8, else None.
        residual: int8 [G, D] for int8, else None.
        centre: float32 [D] for int8, else None; row = scale * (values + residual / RESIDUAL_STEPS) + centre.
        ids: G unique names.
        asymmetric: whether codes are searched by the query's embedding and not by its code.
        first_pass: for a large int8 gallery whose leading coordinates suffice to scan it; its codes are then those of
            (row - centre) @ first_pass.rotation.
        measured: what the search was measured to find, for int8; None in files of older versions.
        lists: of a very large int8 gallery of which a search reads some lists only.
    """

    values: np.ndarray
    scale: np.ndarray | None
    residual: np.ndarray | None
    centre: np.ndarray | None
    ids: tuple[str, ...]
    asymmetric: bool = False
    first_pass: FirstPass | None = None
    measured: Measured | None = None
    lists: Lists | None = None

    @property
    def precision(self) -> str:
        """The name of the stored type, for codes with how they are searched."""
        if self.holds_codes:
            return "asymmetric" if self.asymmetric else "binary"
        return str(self.values.dtype)

    @property
    def holds_codes(self) -> bool:
        """Whether the rows are packed codes."""
        return self.values.dtype == np.uint8

    @property
    def dimension(self) -> int:
        """D."""
        return self.values.shape[1] * (8 if self.holds_codes else 1)

    @property
    def scanned(self) -> int | None:
        """Leading coordinates that the first pass of a search reads; None for all."""
        return None if self.first_pass is None else self.first_pass.dimension

    def shortlist(self, k: int) -> int:
        """Returns how many rows a search for k neighbours ranks again, where it does so."""
        if self.measured is None:
            return shortlist(len(self.ids), k, partial=self.first_pass is not None)
        return self.measured.for_k(k, len(self.ids))

    def description(self, k: int) -> dict[str, Any]:
        """Returns what a retriever file says about its gallery, for k neighbours in an answer."""
        return {
            "k": k,
            "precision": self.precision,
            "gallery_size": len(self.ids),
            "dimension": self.dimension,
            "scanned": self.scanned,
            "lists": None if self.lists is None else len(self.lists.centres),
            "probes": None if self.lists is None else self.lists.probes,
            "measured": None if self.measured is None else dataclasses.asdict(self.measured),
        }

    def rows(self, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Returns float32 [stop - start, D], as the search sees them."""
        if self.holds_codes:
            return unpack_codes(self.values[start:stop]) / np.float32(self.dimension**0.5)
        part = self.values[start:stop].astype(np.float32)
        if self.scale is None or self.residual is None or self.centre is None:
            return part
        part += self.residual[start:stop] / np.float32(RESIDUAL_STEPS)
        part *= self.scale[start:stop, None]
        if self.first_pass is not None:
            part = part @ self.first_pass.rotation.T
        return part + self.centre

    def check_k(self, k: int) -> None:
        """Raises ArgumentError when no answer of k neighbours can come from this gallery."""
        if not 1 <= k <= len(self.ids):
            raise ArgumentError(f"k={k} was asked of a gallery of {len(self.ids)} rows; it must be between 1 and that")

    def with_rows(self, embeddings: np.ndarray, ids: Sequence[str]) -> "Gallery":
        """Returns a gallery with rows appended; rows that are there already keep their bytes.

        Raises:
            KdistillError: see `build_gallery`; also an id that is in the gallery already.
        """
        known = set(self.ids)
        repeated = next((name for name in ids if name in known), None)
        if repeated is not None:
            raise KdistillError(f"id {repeated!r} is in the gallery already; remove it first to replace it")
        if np.ndim(embeddings) == 2 and embeddings.shape[1] != self.dimension:
            raise KdistillError(f"rows of {embeddings.shape[1]} dimensions were given to a gallery of {self.dimension}")
        new = build_gallery(embeddings, ids, self.precision, like=self)
        return Gallery(
            np.concatenate([self.values, new.values]),
            _joined(self.scale, new.scale),
            _joined(self.residual, new.residual),
            self.centre,
            self.ids + new.ids,
            self.asymmetric,
            self.first_pass,
            self.measured,
            None if self.lists is None else self.lists.with_rows(np.asarray(embeddings, np.float32)),
        )

    def without_rows(self, ids: Collection[str]) -> "Gallery":
        """Returns a gallery without these ids.

        Raises:
            KdistillError: an id that is not in the gallery, or nothing would be left.
        """
        removed = set(ids)
        missing = sorted(removed.difference(self.ids))
        if missing:
            raise KdistillError(f"id {missing[0]!r} is not in the gallery ({len(missing)} of {len(removed)} are not)")
        keep = np.array([name not in removed for name in self.ids])
        if not keep.any():
            raise KdistillError("removing these ids would leave an empty gallery")
        return Gallery(
            self.values[keep],
            None if self.scale is None else self.scale[keep],
            None if self.residual is None else self.residual[keep],
            self.centre,
            tuple(name for name in self.ids if name not in removed),
            self.asymmetric,
            self.first_pass,
            self.measured,
            None if self.lists is None else self.lists.kept(keep),
        )


def build_gallery(
    embeddings: np.ndarray,
    ids: Sequence[str],
    precision: str = "float32",
    *,
    k: int = 10,
    queries: np.ndarray | None = None,
    like: Gallery | None = None,
) -> Gallery:
    """Checks embeddings and ids, and stores them at the given precision.

    int8 is symmetric with one scale a row, max |row| / 127: rows differ in their largest coordinate, so one scale
    for all would waste levels. The mean row is taken off first: embeddings of one kind of photo crowd into a cone, and
    the codes then describe differences, while all scores of a query only shift by one number. A second int8 code holds
    what the first one lost. A large gallery is turned first, where its leading coordinates suffice to scan it (see
    `export/search/first_pass.py`).

    Args:
        embeddings: float [G, D] with rows of norm 1; may be memory-mapped.
        ids: G unique names.
        precision: "float32", "float16", "int8"; for embeddings of a `HashHead` also "binary" or "asymmetric", which
            both keep the signs alone.
        k: neighbours in an answer, for which an int8 search is made to find 99 in 100.
        queries: float [n, D] of norm 1, embeddings of real queries to judge that by; None to make up others (see
            `export/search/outside_queries.py`).
        like: an int8 gallery whose centre and first pass to take, so that rows of both stand in one file; None to
            choose them.

    Raises:
        ArgumentError: an unknown precision.
        KdistillError: another shape, values that are not finite or rows not of norm 1, ids that repeat or are missing.
    """
    if precision not in PRECISIONS:
        raise ArgumentError(f"gallery precision {precision!r} is not known; choose one of {', '.join(PRECISIONS)}")
    if np.ndim(embeddings) != 2 or 0 in np.shape(embeddings):
        raise KdistillError(
            f"a gallery is a matrix [rows, dimensions]; this has the shape {list(np.shape(embeddings))}"
        )
    names = tuple(str(name) for name in ids)
    if len(names) != len(embeddings):
        raise KdistillError(f"{len(embeddings)} embeddings were given with {len(names)} ids")
    if len(set(names)) != len(names):
        raise KdistillError(f"id {collections.Counter(names).most_common(1)[0][0]!r} stands more than once")
    if "" in names:
        raise KdistillError(f"row {names.index('')} has an empty id")

    if precision in CODES:
        codes = np.concatenate([pack_codes(rows) for _, rows in _checked_rows(embeddings, names)])
        return Gallery(codes, None, None, None, names, precision == "asymmetric")
    if precision != "int8":
        values = np.empty(embeddings.shape, precision)
        for part, rows in _checked_rows(embeddings, names):
            values[part] = rows
        return Gallery(values, None, None, None, names)
    if queries is not None:
        _check_queries(queries, embeddings.shape[1])
    centre, first_pass, measured, lists = (
        _frame(embeddings, names, k, queries) if like is None else (like.centre, like.first_pass, like.measured, None)
    )
    values = np.empty(embeddings.shape, np.int8)
    residual = np.empty_like(values)
    scale = np.empty(len(embeddings), np.float32)
    for part, rows in _checked_rows(embeddings, names):
        rows = rows - centre
        if first_pass is not None:
            rows = rows @ first_pass.rotation
        scale[part] = np.maximum(np.abs(rows).max(axis=1) / 127.0, 1e-9)
        rows /= scale[part, None]
        values[part] = np.rint(rows)
        residual[part] = np.rint((rows - values[part]) * RESIDUAL_STEPS)
    return Gallery(values, scale, residual, centre, names, first_pass=first_pass, measured=measured, lists=lists)


def joined(galleries: Sequence[Gallery]) -> Gallery:
    """Returns the rows of several galleries (shards) as one, for tools that take them all.

    int8 shards have each their own frame, so their rows come out as float32.

    Raises:
        KdistillError: they differ in kind or dimension, or an id stands in two of them.
    """
    if len(galleries) == 1:
        return galleries[0]
    if len({(gallery.precision, gallery.dimension) for gallery in galleries}) != 1:
        raise KdistillError("shards belong together when they have the same dimension and precision; these do not")
    ids = tuple(name for gallery in galleries for name in gallery.ids)
    if len(set(ids)) != len(ids):
        raise KdistillError(f"id {collections.Counter(ids).most_common(1)[0][0]!r} stands in more than one shard")
    plain = galleries[0].scale is None
    values = np.concatenate([gallery.values if plain else gallery.rows() for gallery in galleries])
    return Gallery(values, None, None, None, ids, galleries[0].asymmetric)


def _frame(
    embeddings: np.ndarray, names: Sequence[str], k: int, given: np.ndarray | None
) -> tuple[np.ndarray, FirstPass | None, Measured, Lists | None]:
    """Returns the mean of the rows, float32 [D], and what `choose_first_pass` chose for them."""
    dimension = embeddings.shape[1]
    total, moment = np.zeros(dimension), np.zeros((dimension, dimension))
    for _, rows in _checked_rows(embeddings, names):
        total += rows.sum(axis=0, dtype=np.float64)
        moment += rows.T @ rows
    centre = np.asarray(total / len(embeddings), np.float32)
    moment /= len(embeddings)
    queries = outside_queries(embeddings, moment, k, given)
    return centre, *choose_first_pass(embeddings, centre, moment, queries, k)


def _check_queries(queries: np.ndarray, dimension: int) -> None:
    if np.ndim(queries) != 2 or queries.shape[1] != dimension:
        raise KdistillError(
            f"queries to judge a search by are a matrix [queries, {dimension}]; these have the shape "
            f"{list(np.shape(queries))}"
        )
    _check_rows(np.asarray(queries, np.float32), [f"query {row}" for row in range(len(queries))], 0)


def _joined(first: np.ndarray | None, second: np.ndarray | None) -> np.ndarray | None:
    return None if first is None or second is None else np.concatenate([first, second])


def _checked_rows(embeddings: np.ndarray, names: Sequence[str]) -> Iterator[tuple[slice, np.ndarray]]:
    """Walks through the matrix in float32 pieces, each checked."""
    for start in range(0, len(embeddings), _CHUNK):
        rows = np.asarray(embeddings[start : start + _CHUNK], np.float32)
        _check_rows(rows, names, start)
        yield slice(start, start + len(rows)), rows


def _check_rows(rows: np.ndarray, names: Sequence[str], start: int) -> None:
    norms = np.linalg.norm(rows, axis=1)
    if not np.isfinite(norms).all():
        bad = start + int(np.flatnonzero(~np.isfinite(norms))[0])
        raise KdistillError(f"the embedding of {names[bad]!r} (row {bad}) holds values that are not finite")
    off = np.flatnonzero(np.abs(norms - 1.0) > NORM_TOLERANCE)
    if off.size:
        bad = int(off[0])
        raise KdistillError(
            f"the embedding of {names[start + bad]!r} (row {start + bad}) has norm {norms[bad]:.3g}; "
            "a retriever compares rows of norm 1, normalise them first"
        )
