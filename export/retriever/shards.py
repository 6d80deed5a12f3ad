"""Galleries above the 2 GiB of one TFLite file: several files, one answer."""

import collections
import heapq
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from export.retriever.build import build_retriever, build_search
from export.retriever.client import Match, Photo, Retriever
from kdistill.errors import ArgumentError, KdistillError


def build_shards(
    student: Any,
    embeddings: np.ndarray,
    ids: Sequence[str],
    path: Path | str,
    *,
    rows_per_shard: int,
    k: int = 10,
    precision: str = "float32",
) -> list[Path]:
    """Writes NAME-0.tflite, NAME-1.tflite, ... for a `path` NAME.tflite; the first one holds the student too.

    Args:
        student, embeddings, ids, k, precision: as in `build_retriever`; embeddings may be memory-mapped.
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
            build_retriever(student, rows, own, file, k=k, precision=precision)
        else:
            build_search(rows, own, file, k=k, precision=precision)
        files.append(file)
    return files


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
