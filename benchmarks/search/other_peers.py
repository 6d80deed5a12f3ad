"""Peers from other libraries: usearch (exact and graph), hnswlib, ScaNN (codes, and a tree), sqlite-vec, numpy."""

import functools
import math
import os
import sqlite3
import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.search.peers import Maker, Peer, saved_bytes, timed

_BEAMS = (16, 32, 64, 128, 256, 512, 1024)
_LINKS = 16


def _usearch_exact(gallery: np.ndarray, k: int) -> Peer:
    from usearch.index import MetricKind, search

    scale = np.float32(127 / np.abs(gallery).max())
    codes = np.rint(gallery * scale).astype(np.int8)
    threads = [1]

    def run(queries: np.ndarray) -> np.ndarray:
        scaled = np.clip(np.rint(queries * scale), -127, 127).astype(np.int8)
        found = search(codes, scaled, k, MetricKind.IP, exact=True, threads=threads[0])
        return np.asarray(found.keys).reshape(len(queries), -1)

    return Peer("usearch_exact_i8", run, gallery.shape[1], threads=functools.partial(threads.__setitem__, 0))


def _usearch_graph(gallery: np.ndarray, k: int, *, dtype: str) -> Peer:
    from usearch.index import Index

    rows, dimension = gallery.shape
    index = Index(ndim=dimension, metric="ip", dtype=dtype, connectivity=_LINKS)
    seconds = timed(lambda: index.add(np.arange(rows), gallery, threads=os.cpu_count() or 1))
    threads = [1]

    def run(queries: np.ndarray) -> np.ndarray:
        return np.asarray(index.search(queries, k, threads=threads[0]).keys).reshape(len(queries), -1)

    return Peer(
        f"usearch_hnsw_{dtype}",
        run,
        index.serialized_length / rows,
        seconds,
        ladder=_BEAMS,
        choose=functools.partial(setattr, index, "expansion_search"),
        threads=functools.partial(threads.__setitem__, 0),
    )


def _hnswlib(gallery: np.ndarray, k: int) -> Peer:
    import hnswlib

    rows, dimension = gallery.shape
    index = hnswlib.Index("ip", dimension)
    index.init_index(rows, ef_construction=200, M=_LINKS, random_seed=0)
    seconds = timed(lambda: index.add_items(gallery))
    return Peer(
        "hnswlib",
        lambda queries: index.knn_query(queries, k)[0],
        saved_bytes(index.save_index) / rows,
        seconds,
        ladder=_BEAMS,
        choose=index.set_ef,
        threads=index.set_num_threads,
    )


def _import_scann() -> Any:
    """Returns the package without its operators for TensorFlow, which load beside one version of that only."""
    held = {name: module for name, module in sys.modules.items() if name.split(".")[0] == "tensorflow"}
    hidden: dict[str, Any] = dict.fromkeys(["tensorflow", *held])  # None: an import fails
    sys.modules.update(hidden)
    try:
        import scann
    finally:
        del sys.modules["tensorflow"]
        sys.modules.update(held)
    return scann


def _scann(gallery: np.ndarray, k: int, *, tree: bool) -> Peer:
    scann = _import_scann()
    rows = len(gallery)
    leaves = max(16, round(2 * math.sqrt(rows)))
    builder = scann.scann_ops_pybind.builder(gallery, k, "dot_product")
    if tree:
        builder = builder.tree(leaves, max(1, leaves // 10), training_sample_size=min(rows, 100_000))
    builder = builder.score_ah(2, anisotropic_quantization_threshold=0.2).reorder(100)
    made = []
    seconds = timed(lambda: made.append(builder.build()))
    searcher = made[0]
    setting, threads = [100], [1]

    def run(queries: np.ndarray) -> np.ndarray:
        wanted = {"pre_reorder_num_neighbors": setting[0]}
        if tree:
            wanted = {"pre_reorder_num_neighbors": 50 * k, "leaves_to_search": setting[0]}
        call = searcher.search_batched_parallel if threads[0] > 1 and len(queries) > 1 else searcher.search_batched
        return np.asarray(call(queries, final_num_neighbors=k, **wanted)[0])

    def save(path: str) -> None:
        Path(path).mkdir()
        searcher.serialize(path)

    ladder = tuple(count for count in (4, 8, 16, 32, 64, 128, 256, 512) if count <= leaves) if tree else ()
    return Peer(
        "scann_tree" if tree else "scann_ah",
        run,
        saved_bytes(save) / rows,
        seconds,
        ladder=ladder or tuple(factor * k for factor in (2, 5, 10, 20, 50, 100, 200)),
        choose=functools.partial(setting.__setitem__, 0),
        threads=functools.partial(threads.__setitem__, 0),
    )


def _sqlite_vec(gallery: np.ndarray, k: int) -> Peer:
    import sqlite_vec

    connection = sqlite3.connect(":memory:")
    if not hasattr(connection, "enable_load_extension"):
        raise ImportError("this Python's sqlite3 loads no extensions", name="sqlite3 with extensions")
    connection.enable_load_extension(True)
    sqlite_vec.load(connection)
    connection.execute(f"create virtual table vectors using vec0(embedding float[{gallery.shape[1]}])")

    def add() -> None:
        lines = ((row, vector.tobytes()) for row, vector in enumerate(gallery))
        connection.executemany("insert into vectors(rowid, embedding) values (?, ?)", lines)

    seconds = timed(add)

    def run(queries: np.ndarray) -> np.ndarray:
        text = "select rowid from vectors where embedding match ? and k = ? order by distance"
        found = [[line[0] for line in connection.execute(text, (query.tobytes(), k))] for query in queries]
        return np.asarray(found)

    pages, size = (connection.execute(f"pragma {name}").fetchone()[0] for name in ("page_count", "page_size"))
    return Peer("sqlite_vec", run, pages * size / len(gallery), seconds)


def _numpy(gallery: np.ndarray, k: int) -> Peer:
    from threadpoolctl import threadpool_limits

    def run(queries: np.ndarray) -> np.ndarray:
        scores = queries @ gallery.T
        best = np.argpartition(scores, -k, axis=1)[:, -k:]
        order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1)
        return np.take_along_axis(best, order, axis=1)

    def threads(number: int) -> None:
        threadpool_limits(number)

    return Peer("numpy", run, 4 * gallery.shape[1], threads=threads)


OTHERS = (
    Maker("numpy", "numpy", _numpy),
    Maker("usearch_exact_i8", "usearch", _usearch_exact),
    Maker("scann_ah", "scann", functools.partial(_scann, tree=False)),
    Maker("scann_tree", "scann", functools.partial(_scann, tree=True)),
    Maker("sqlite_vec", "sqlite_vec", _sqlite_vec),
    Maker("usearch_hnsw_i8", "usearch", functools.partial(_usearch_graph, dtype="i8"), slow=True),
    Maker("usearch_hnsw_f16", "usearch", functools.partial(_usearch_graph, dtype="f16"), slow=True),
    Maker("hnswlib", "hnswlib", _hnswlib, slow=True),
)
