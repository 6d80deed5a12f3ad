"""A teacher that is a table of vectors: answers that somebody computed before, looked up by image id."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kdistill.console.optional import optional
from kdistill.data.images import Image, text_of
from kdistill.data.layouts.lists import MAX_LIST_BYTES
from kdistill.errors import KdistillError
from kdistill.files.archives import load_arrays, texts
from kdistill.files.whole import read_bounded
from kdistill.teachers.providers.fingerprint import file_name
from kdistill.teachers.providers.names import Names
from kdistill.teachers.teacher import NotAsked

_BUFFER, _PARQUET_ROWS = 1 << 20, 2048
"""Bytes of a Parquet file's column that are read at a time, and rows that are decoded."""


class TableTeacher:
    """Looks vectors up by image id.

    The table is one of: `.npz` with arrays `ids` (strings [n]) and `embeddings` (float [n, Dt]); `.npy` of
    embeddings with a text file of the same name (`.txt`, one id a line) beside it; `.parquet` with columns `id` and
    `embedding` (lists of float; needs pyarrow). Pickled arrays are refused. Ids that are no UTF-8 are known by the
    escapes that `Image` gives them.
    """

    view = "id"
    repeatable = True

    def __init__(self, path: str | Path) -> None:
        """Reads the table.

        Raises:
            KdistillError: the file is missing, damaged, pickled, or its arrays do not belong together.
        """
        self.path = Path(path)
        try:
            names, embeddings = _READERS[self.path.suffix](self.path)
            ids = Names(text_of(name) for name in names)
        except KdistillError:
            raise
        # numpy, zipfile and pyarrow raise many kinds of errors on damaged files; each means the same to the user.
        except Exception as error:
            raise KdistillError(f"the teacher's table {self.path} cannot be read: {error}") from error
        if embeddings.ndim != 2 or embeddings.dtype.kind not in "fiu" or len(ids) != len(embeddings):
            raise KdistillError(
                f"the teacher's table {self.path} must have one row of numbers for each id: it has {len(ids)} ids "
                f"and embeddings of shape {list(embeddings.shape)}, {embeddings.dtype}"
            )
        self.name = file_name(self.path)  # last: what is refused above may have any size
        self.dimension = int(embeddings.shape[1])
        self._embeddings, self._names = embeddings, ids
        if ids.repeated is not None:
            raise KdistillError(f"the teacher's table {self.path} has the id {ids.repeated!r} more than once")

    @property
    def ids(self) -> Iterator[str]:
        """The names of the rows, in their order."""
        return iter(self._names)

    @property
    def vectors(self) -> np.ndarray:
        """The rows as they stand in the file, float or int [n, Dt]; those of a `.npy` file are memory-mapped."""
        return self._embeddings

    def rows_of(self, names: Iterable[str]) -> np.ndarray:
        """Returns the row of each name, int64 [n]; -1 where there is none."""
        return np.array([-1 if (row := self._names.row(name)) is None else row for name in names], np.int64)

    def embed(self, images: Sequence[Image]) -> np.ndarray:
        """Returns float32 [n, Dt].

        Raises:
            NotAsked: an id is not in the table.
        """
        rows = [self._names.row(image.id) for image in images]
        missing = [image.id for image, row in zip(images, rows, strict=True) if row is None]
        if missing:
            more = f" (nor have {len(missing) - 1} others of this batch)" if len(missing) > 1 else ""
            raise NotAsked(f"image {missing[0]!r} has no row in the teacher's table {self.path}{more}")
        return np.asarray(self._embeddings[np.array(rows, np.int64)], np.float32)


def _read_npz(path: Path) -> tuple[list[str], np.ndarray]:
    ids, embeddings = load_arrays(path, ("ids", "embeddings"))
    return texts(ids), embeddings


def _read_npy(path: Path) -> tuple[list[str], np.ndarray]:
    ids_path = path.with_suffix(".txt")
    if not ids_path.exists():
        raise KdistillError(f"the teacher's table {path} needs its ids, one a line, in {ids_path}")
    content = read_bounded(ids_path, MAX_LIST_BYTES)
    if content.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in content:
        raise KdistillError(f"the ids {ids_path} are no UTF-8 text (UTF-16, by its bytes); save them as UTF-8")
    text = content.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
    # Only a line feed ends a line: names may hold the other characters at which Python splits.
    lines = text.removesuffix("\n").split("\n") if text else []
    if lines and all(line.endswith("\r") for line in lines[:-1] or lines):
        lines = [line.removesuffix("\r") for line in lines]
    return lines, np.load(path, allow_pickle=False, mmap_mode="r")


def _read_parquet(path: Path) -> tuple[Iterable[str], np.ndarray]:
    optional("pyarrow.parquet", "parquet")
    embeddings: np.ndarray | None = None
    done = 0
    for count, column in _batches_of(path, "embedding"):
        rows = _vectors(column)
        if embeddings is None:
            embeddings = np.empty((count, rows.shape[1]), np.float32)
        embeddings[done : done + len(rows)] = rows
        done += len(rows)
    names = (str(name) for _, column in _batches_of(path, "id") for name in column.to_pylist())
    return names, np.empty(0, np.float32) if embeddings is None else embeddings


def _batches_of(path: Path, column: str) -> Iterator[tuple[int, Any]]:
    """Yields the number of all rows, and some thousand rows of a column as an Arrow array."""
    import pyarrow.parquet

    # Page by page: a row group may be as large as the whole file.
    with pyarrow.parquet.ParquetFile(path, buffer_size=_BUFFER, pre_buffer=False) as file:
        for batch in file.iter_batches(batch_size=_PARQUET_ROWS, columns=[column], use_threads=False):
            yield file.metadata.num_rows, batch[column]


def _vectors(column: Any) -> np.ndarray:
    """Returns float [n, Dt] of an Arrow array of n lists."""
    import pyarrow.compute

    values, lengths = column.flatten(), pyarrow.compute.list_value_length(column)
    if column.null_count or values.null_count or len(pyarrow.compute.unique(lengths)) != 1:
        raise ValueError("the column embedding holds lists of different lengths, or nothing in some place")
    return values.to_numpy(zero_copy_only=False).reshape(len(column), -1)


_READERS = {".npz": _read_npz, ".npy": _read_npy, ".parquet": _read_parquet}
