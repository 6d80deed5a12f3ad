"""Peers from faiss: flat, scalar quantisers, FastScan and RaBitQ with refinement, an inverted list."""

import functools
import math

import numpy as np

from benchmarks.search.peers import Maker, Peer, timed

_REFINED = (1, 2, 5, 10, 20, 50, 100, 200)
"""Candidates that are refined, for each of the k."""
_TRAINED = 100_000


def _threads(number: int) -> None:
    import faiss

    faiss.omp_set_num_threads(number)


def _made(gallery: np.ndarray, k: int, *, name: str, factory: str) -> Peer:
    import faiss

    rows, dimension = gallery.shape
    lists = max(16, round(4 * math.sqrt(rows)))
    index = faiss.index_factory(dimension, factory.format(lists=lists), faiss.METRIC_INNER_PRODUCT)

    def build() -> None:
        index.train(gallery[np.random.default_rng(0).permutation(rows)[: max(_TRAINED, 40 * lists)]])
        index.add(gallery)

    seconds = timed(build)
    peer = Peer(
        name,
        lambda queries: index.search(queries, k)[1],
        len(faiss.serialize_index(index)) / rows,
        seconds,
        threads=_threads,
    )
    if "IVF" in factory:
        inner = faiss.extract_index_ivf(index)
        if "Refine" in factory or "RFlat" in factory:
            index.k_factor = 50
        peer.ladder = tuple(probes for probes in (2, 4, 8, 16, 32, 64, 128, 256, 512, 1024) if probes <= lists)
        peer.choose = functools.partial(setattr, inner, "nprobe")
    elif "Refine" in factory or "RFlat" in factory:
        peer.ladder = _REFINED
        peer.choose = functools.partial(setattr, index, "k_factor")
    return peer


def _direct_signed(gallery: np.ndarray, k: int) -> Peer:
    """One scale for all rows, chosen so that the whole range of a byte is used."""
    import faiss

    rows, dimension = gallery.shape
    scale = np.float32(127 / np.abs(gallery).max())
    kind = faiss.ScalarQuantizer.QT_8bit_direct_signed
    index = faiss.IndexScalarQuantizer(dimension, kind, faiss.METRIC_INNER_PRODUCT)
    seconds = timed(lambda: index.add(np.rint(gallery * scale)))
    size = len(faiss.serialize_index(index)) / rows

    def search(queries: np.ndarray) -> np.ndarray:
        return index.search(np.rint(queries * scale), k)[1]

    return Peer("faiss_sq8_direct_signed", search, size, seconds, threads=_threads)


def _scalar_fast_scan(gallery: np.ndarray, k: int) -> Peer:
    """The FastScan of a scalar quantiser (facebookresearch/faiss#5340), in the releases that have it."""
    import faiss

    rows, dimension = gallery.shape
    if not hasattr(faiss, "IndexSQFastScan"):
        raise ImportError(f"faiss {faiss.__version__} has no IndexSQFastScan", name="faiss.IndexSQFastScan")
    index = faiss.IndexRefineFlat(faiss.IndexSQFastScan(dimension, faiss.METRIC_INNER_PRODUCT))

    def build() -> None:
        index.train(gallery[:_TRAINED])
        index.add(gallery)

    seconds = timed(build)
    size = len(faiss.serialize_index(index)) / rows
    choose = functools.partial(setattr, index, "k_factor")
    return Peer(
        "faiss_sq_fast_scan",
        lambda queries: index.search(queries, k)[1],
        size,
        seconds,
        ladder=_REFINED,
        choose=choose,
        threads=_threads,
    )


_FACTORIES = {
    "faiss_flat": "Flat",
    "faiss_sq8": "SQ8",
    "faiss_pq32x4fs_flat": "PQ32x4fs,RFlat",
    "faiss_pq32x4fs_fp16": "PQ32x4fs,Refine(SQfp16)",
    "faiss_pq64x4fs_flat": "PQ64x4fs,RFlat",
    "faiss_pq64x4fs_fp16": "PQ64x4fs,Refine(SQfp16)",
    "faiss_rabitq_fs_flat": "RaBitQfs,RFlat",
    "faiss_rabitq_fs_fp16": "RaBitQfs,Refine(SQfp16)",
    "faiss_ivf_pq64x4fs_flat": "IVF{lists},PQ64x4fs,RFlat",
    "faiss_ivf_pq64x4fs_fp16": "IVF{lists},PQ64x4fs,Refine(SQfp16)",
}
FAISS = (
    *(
        Maker(name, "faiss", functools.partial(_made, name=name, factory=factory), slow="ivf" in name)
        for name, factory in _FACTORIES.items()
    ),
    Maker("faiss_sq8_direct_signed", "faiss", _direct_signed),
    Maker("faiss_sq_fast_scan", "faiss", _scalar_fast_scan),
)
