"""The search as TFLite operators: scores by one dense layer, then the exact top k."""

from typing import Any

import numpy as np

from export.gallery import Gallery
from export.graph import GraphBuilder, store

# Versions of FULLY_CONNECTED: 1 float, 12 float input with int8 weights that have one scale a row.
_DENSE_VERSION = {"float32": 1, "float16": 1, "int8": 12}


class StoredGallery:
    """A gallery whose bytes are in a model's buffers once, for all subgraphs that search it."""

    def __init__(self, model: Any, gallery: Gallery) -> None:
        """Appends the gallery's bytes to the buffers of `model` (a `ModelT`)."""
        self.gallery = gallery
        self.buffer = store(model, gallery.values)


def add_search(builder: GraphBuilder, query: int, stored: StoredGallery, k: int) -> tuple[int, int]:
    """Adds the search to a subgraph.

    Args:
        builder: the subgraph.
        query: tensor float32 [1, D].
        stored: the gallery.
        k: how many neighbours.

    Returns:
        Tensors scores float32 [1, k], best first, and row numbers int32 [1, k].
    """
    scores = _all_scores(builder, query, stored)
    count = builder.constant(np.array(k, np.int32), "k")
    best = builder.tensor((1, k), np.float32, "best_scores")
    rows = builder.tensor((1, k), np.int32, "best_rows")
    builder.operator("TOPK_V2", [scores, count], [best, rows], options=builder.options("TopKV2Options"))
    return best, rows


def _all_scores(builder: GraphBuilder, query: int, stored: StoredGallery) -> int:
    gallery = stored.gallery
    weights = builder.constant(gallery.values, "gallery", scale=gallery.scale, buffer=stored.buffer)
    if gallery.precision == "float16":
        widened = builder.tensor(gallery.values.shape, np.float32, "gallery_float32")
        builder.operator("DEQUANTIZE", [weights], [widened], version=3, options=builder.options("DequantizeOptions"))
        weights = widened
    scores = builder.tensor((1, len(gallery.values)), np.float32, "scores")
    builder.operator(
        "FULLY_CONNECTED",
        [query, weights, -1],
        [scores],
        version=_DENSE_VERSION[gallery.precision],
        options=builder.options("FullyConnectedOptions"),
    )
    return scores
