"""A teacher that is a table of vectors: answers that somebody computed before, looked up by image id."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kdistill.console.optional import optional
from kdistill.data.images import Image, text_of
from kdistill.data.lists import MAX_LIST_BYTES
from kdistill.errors import KdistillError
from kdistill.files.archives import load_arrays, texts
from kdistill.files.whole import read_bounded
from kdistill.teachers.providers.fingerprint import file_name
from kdistill.teachers.teacher import NotAsked


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
            ids = [text_of(name) for name in names]
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
        self._embeddings = embeddings
        self._rows = {name: row for row, name in enumerate(ids)}
        if len(self._rows) != len(ids):
            seen: set[str] = set()
            repeated = next(name for name in ids if name in seen or seen.add(name))  # type: ignore[func-returns-value]
            raise KdistillError(f"the teacher's table {self.path} has the id {repeated!r} more than once")

    def embed(self, images: Sequence[Image]) -> np.ndarray:
        """Returns float32 [n, Dt].

        Raises:
            NotAsked: an id is not in the table.
        """
        missing = [image.id for image in images if image.id not in self._rows]
        if missing:
            more = f" (nor have {len(missing) - 1} others of this batch)" if len(missing) > 1 else ""
            raise NotAsked(f"image {missing[0]!r} has no row in the teacher's table {self.path}{more}")
        return np.asarray(self._embeddings[[self._rows[image.id] for image in images]], np.float32)


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


def _read_parquet(path: Path) -> tuple[list[str], np.ndarray]:
    table = optional("pyarrow.parquet", "parquet").read_table(path, columns=["id", "embedding"])
    return [str(name) for name in table["id"].to_pylist()], np.array(table["embedding"].to_pylist(), np.float32)


_READERS = {".npz": _read_npz, ".npy": _read_npy, ".parquet": _read_parquet}
