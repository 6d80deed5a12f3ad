"""Galleries above the 2 GiB of one TFLite file: several files, one answer."""

import collections
import heapq
import itertools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from export.retriever.build import build_retriever, build_search
from export.retriever.client import Match, Photo, Retriever
from export.retriever.sidecar import sidecar_path
from kdistill.errors import ArgumentError, KdistillError

SHARD_BYTES = 1_800_000_000
"""What the gallery of one file may take; the student and the tables of the format come on top, up to 2 GiB."""
INT8_ROWS = 50_000
"""From this many rows on int8 is chosen: it is then several times faster, for some parts in a thousand of recall."""


def build_shards(
    student: Any,
    embeddings: np.ndarray,
    ids: Sequence[str],
    path: Path | str,
    *,
    rows_per_shard: int,
    k: int = 10,
    precision: str = "float32",
    queries: np.ndarray | None = None,
) -> list[Path]:
    """Writes NAME-0.tflite, NAME-1.tflite, ... for a `path` NAME.tflite; the first one holds the student too.

    Args:
        student, embeddings, ids, k, precision, queries: as in `build_retriever`; embeddings may be memory-mapped.
        path: gives folder and name.
        rows_per_shard: rows that a file holds at most; the rows are shared out evenly.

    Returns:
        The files, in the order of the rows.

    Raises:
        ArgumentError: a shard would hold fewer rows than k.
        KdistillError: an id that stands in two shards, and whatever `build_retriever` raises.
    """
    if rows_per_shard < k:
        raise ArgumentError(f"shards of {rows_per_shard} rows cannot answer with k={k} neighbours")
    names = [str(name) for name in ids]
    if len(set(names)) != len(names):
        raise KdistillError(f"id {collections.Counter(names).most_common(1)[0][0]!r} stands more than once")
    if len(names) != len(embeddings):
        raise KdistillError(f"{len(embeddings)} embeddings were given with {len(names)} ids")
    count = max(1, -(-len(names) // rows_per_shard))
    edges = np.linspace(0, len(names), count + 1).astype(int)
    path = Path(path)
    files = []
    for number, (start, stop) in enumerate(itertools.pairwise(edges)):
        file = path.with_name(f"{path.stem}-{number}{path.suffix}")
        rows, own = embeddings[start:stop], names[start:stop]
        if number == 0:
            build_retriever(student, rows, own, file, k=k, precision=precision, queries=queries)
        else:
            build_search(rows, own, file, k=k, precision=precision, queries=queries)
        files.append(file)
    return files


def build_files(
    student: Any,
    embeddings: np.ndarray,
    ids: Sequence[str],
    path: Path | str,
    *,
    k: int = 10,
    precision: str = "float32",
    shards: int | str = "auto",
    queries: np.ndarray | None = None,
) -> list[Path]:
    """Writes a retriever as one file, or as shards NAME-0, NAME-1, ...; older files of the other kind are removed.

    Args:
        student, embeddings, ids, path, k, precision, queries: as in `build_retriever`.
        shards: how many files; "auto" for as few as hold the gallery within SHARD_BYTES each.

    Returns:
        The files, in the order of the rows; the first one holds the student.

    Raises:
        ArgumentError: less than one shard, or so many that one would hold fewer rows than k.
        KdistillError: whatever `build_retriever` and `build_shards` raise.
    """
    path = Path(path)
    count = len(embeddings)
    if shards == "auto":
        width = int(np.shape(embeddings)[1]) if np.ndim(embeddings) == 2 else 0
        number = max(1, -(-count * bytes_per_row(width, precision, path.suffix) // SHARD_BYTES))
    elif isinstance(shards, int) and shards >= 1:
        number = shards
    else:
        raise ArgumentError(f"{shards!r} shards were asked for; it takes a whole number of at least 1, or auto")
    if number == 1:
        build_retriever(student, embeddings, ids, path, k=k, precision=precision, queries=queries)
        files = [path]
    else:
        rows = -(-count // number)
        if not 1 <= k <= count // number:
            raise ArgumentError(
                f"k={k} neighbours were asked of {number} shards of {count} rows; each holds {count // number} of them"
            )
        files = build_shards(
            student, embeddings, ids, path, rows_per_shard=rows, k=k, precision=precision, queries=queries
        )
    for old in {path, *_shards_there(path)} - set(files):
        for stale in (old, sidecar_path(old)):
            stale.unlink(missing_ok=True)
    return files


def choose_precision(student: Any, rows: int) -> str:
    """Returns how a gallery is best stored: codes for a student that makes them, int8 from INT8_ROWS on, else float32.

    Args:
        student: the Keras model.
        rows: G.
    """
    from kdistill.layers.hash_head import HashHead  # TensorFlow, which searching does without

    if any(isinstance(layer, HashHead) for layer in student.layers):
        return "asymmetric"
    return "int8" if rows >= INT8_ROWS else "float32"


def bytes_per_row(dimension: int, precision: str, suffix: str) -> int:
    """Returns about how many bytes of a file one row takes; a little too many, since there is more in a file."""
    octets = {"float32": 4 * dimension, "float16": 2 * dimension, "int8": 2 * dimension + 16}
    # TFLite has no operator that counts bits, so there a bit takes a byte.
    return octets.get(precision, dimension if suffix == ".tflite" else -(-dimension // 8))


def shards_of(path: Path | str) -> list[Path]:
    """Returns the files of the retriever `path`: the file itself, or where it does not exist its shards, in order."""
    path = Path(path)
    if not path.name:
        raise KdistillError(f"{str(path)!r} is no name of a retriever's file")
    found = [] if path.exists() else _siblings(path)
    files = [path.with_name(f"{path.stem}-{number}{path.suffix}") for number in range(len(found))]
    if set(files) != set(found):
        absent = next(file for file in files if file not in found)
        raise KdistillError(f"the shard {absent} is missing beside {found[0].name}")
    return files or [path]


def _shards_there(path: Path) -> list[Path]:
    """Returns the shards NAME-0, NAME-1, ... up to the first number that is missing: NAME-2024 is another's file."""
    numbered = (path.with_name(f"{path.stem}-{number}{path.suffix}") for number in itertools.count())
    return list(itertools.takewhile(Path.exists, numbered))


def _siblings(path: Path) -> list[Path]:
    """Returns the shards of a retriever that there are, in any order."""
    form = re.compile(re.escape(path.stem) + r"-\d+" + re.escape(path.suffix))
    if not path.parent.is_dir():
        return []
    return sorted(file for file in path.parent.iterdir() if form.fullmatch(file.name))


class ShardedRetriever:
    """Searches several files as if they were one; the first one embeds."""

    def __init__(self, paths: Sequence[Path | str], *, num_threads: int = 2) -> None:
        """Opens the files.

        Raises:
            KdistillError: no file, one that cannot be opened, or files of different dimensions or k.
        """
        self.shards = [Retriever(path, num_threads=num_threads) for path in paths]
        if len({(shard.dimension, shard.k) for shard in self.shards}) != 1:
            raise KdistillError("shards belong together when they have the same dimension and k; these do not")
        self.k = self.shards[0].k

    def search(self, image: Photo) -> list[Match]:
        """Returns the k nearest rows of all files, best first; see `Retriever.search`."""
        return self.search_embedding(self.shards[0].embed(image))

    def search_embedding(self, embedding: np.ndarray) -> list[Match]:
        """Returns the k nearest rows of all files to an embedding, float [D] of norm 1; `row` counts in its file."""
        answers = [shard.search_embedding(embedding) for shard in self.shards]
        return list(heapq.merge(*answers, key=lambda match: -match.score))[: self.k]
