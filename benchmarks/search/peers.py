"""The exact searches that the retriever is measured against, each one query at a time or a batch."""

from collections.abc import Callable

import numpy as np

from kdistill.errors import KdistillError

Search = Callable[[np.ndarray], np.ndarray]
"""From queries float32 [Q, D] to row numbers [Q, k]."""


def peers(gallery: np.ndarray, k: int, num_threads: int) -> dict[str, Search]:
    """Returns every peer by name, with `gallery` (float32 [G, D]) inside.

    8-bit peers with one scale for all (direct signed, usearch) get vectors scaled to use the whole range.

    Raises:
        KdistillError: faiss or usearch is not installed.
    """
    try:
        import faiss
        from usearch.index import MetricKind
        from usearch.index import search as usearch_search
    except ImportError as error:
        raise KdistillError(f"{error.name} is needed for the comparison: pip install 'kdistill[search]'") from error

    faiss.omp_set_num_threads(num_threads)
    dimension = gallery.shape[1]
    scale = np.float32(127 / np.abs(gallery).max())
    codes = np.rint(gallery * scale).astype(np.int8)

    flat = faiss.IndexFlatIP(dimension)
    flat.add(gallery)
    sq8 = faiss.IndexScalarQuantizer(dimension, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT)
    sq8.train(gallery[:100_000])
    sq8.add(gallery)
    signed = faiss.IndexScalarQuantizer(
        dimension, faiss.ScalarQuantizer.QT_8bit_direct_signed, faiss.METRIC_INNER_PRODUCT
    )
    signed.add(codes.astype(np.float32))

    def by_usearch(queries: np.ndarray) -> np.ndarray:
        scaled = np.clip(np.rint(queries * scale), -127, 127).astype(np.int8)
        found = usearch_search(codes, scaled, k, MetricKind.IP, exact=True, threads=num_threads)
        return np.asarray(found.keys).reshape(len(queries), -1)

    def by_numpy(queries: np.ndarray) -> np.ndarray:
        scores = queries @ gallery.T
        best = np.argpartition(scores, -k, axis=1)[:, -k:]
        order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1)
        return np.take_along_axis(best, order, axis=1)

    return {
        "faiss_flat": lambda queries: flat.search(queries, k)[1],
        "faiss_sq8": lambda queries: sq8.search(queries, k)[1],
        "faiss_sq8_direct_signed": lambda queries: signed.search(np.rint(queries * scale), k)[1],
        "usearch_i8": by_usearch,
        "numpy": by_numpy,
    }
