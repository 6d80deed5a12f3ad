"""The exact search over binary codes as TFLite operators.

Measured over a million codes of 64 bits (docs/hashing.md): codes of -1 and 1 as the int8 weights of a dense layer are
scanned at the speed of memory, and the runtime has no operator that counts bits. Input, weights and output all have
eight bits and scales that are powers of two, so every score is an exact integer: (K - 2 d) / 2 for a distance d.

An asymmetric search reads the same codes. Its layer takes the query's embedding in float32, which the runtime rounds to
eight bits, and gives float32; what follows is the same search on these.
"""

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from export.formats.graph import GraphBuilder, store
from export.retriever.gallery import Gallery
from export.search.hamming import in_order, interleaved, runs
from kdistill.errors import ArgumentError
from kdistill.hashing.codes import pack_codes, unpack_codes

MAX_BITS = 248
"""K / 2 and its negative must fit into a signed byte."""
_STEP = 2.0
"""Scale of the scores: all of them have the parity of K."""


class HammingGraph:
    """Adds the search of one gallery of codes to subgraphs of a model; the codes are stored once.

    Attributes:
        buffers: the numbers of the buffers that hold the codes: "codes" the runs, line by line, "tail" the rest.
    """

    def __init__(self, model: Any, gallery: Gallery, k: int) -> None:
        """Appends the codes to the buffers of `model` (a `ModelT`).

        Raises:
            ArgumentError: more than MAX_BITS bits, searched by codes.
        """
        self.bits, self.k, self.asymmetric = gallery.dimension, k, gallery.asymmetric
        if self.bits > MAX_BITS and not self.asymmetric:
            raise ArgumentError(f"a .tflite retriever takes codes of at most {MAX_BITS} bits, these have {self.bits}")
        self.runs = runs(len(gallery.ids), k)
        signs = unpack_codes(gallery.values)
        main = self.runs.main
        self.weights: dict[str, np.ndarray] = {}
        if main:
            self.weights["codes"] = interleaved(signs[:main], self.runs)
        if self.runs.tail:
            self.weights["tail"] = signs[main:]
        self.buffers = {name: store(model, weights) for name, weights in self.weights.items()}

    def add(self, builder: GraphBuilder, query: int) -> list[int]:
        """Adds the search to a subgraph.

        Args:
            builder: the subgraph.
            query: tensor float32 [1, K].

        Returns:
            Tensors scores float32 [1, k], best first, and row numbers int32 [1, k].
        """
        searching = query if self.asymmetric else self._code(builder, query)
        scores = {name: self._scores(builder, searching, name) for name in self.weights}
        best, rows = self._top_of_runs(builder, scores) if "codes" in scores else self._top(builder, scores["tail"])
        # The norm of a row of -1 and 1 is the root of K; that of a query's code is too.
        norms = self.bits**0.5 if self.asymmetric else self.bits
        best = best if self.asymmetric else builder.dequantize(best)
        cosines = builder.binary(
            "MUL", best, builder.constant(np.array([1 / norms], np.float32), "per_norm"), "MulOptions"
        )
        return [cosines, rows]

    def _code(self, builder: GraphBuilder, query: int) -> int:
        """Adds the query's code, int8 [1, K] of -1 and 1."""
        positive = builder.tensor((1, self.bits), np.bool_, "positive", type=schema.TensorType.BOOL)
        zero = builder.constant(np.zeros(1, np.float32), "zero")
        builder.operator("GREATER_EQUAL", [query, zero], [positive], "GreaterEqualOptions")
        one, minus = (builder.constant(np.full((1, 1), sign, np.int8), "sign", scale=np.ones(1)) for sign in (1, -1))
        code = _int8(builder, (1, self.bits), "code", 1.0)
        builder.operator("SELECT_V2", [positive, one, minus], [code], "SelectV2Options")
        return code

    def _scores(self, builder: GraphBuilder, query: int, name: str) -> int:
        weights = self.weights[name]
        table = builder.constant(weights, name, scale=np.ones(1), buffer=self.buffers[name])
        scores = self._some_scores(builder, (1, len(weights)), f"{name}_scores")
        version = 3 if self.asymmetric else 4
        builder.operator("FULLY_CONNECTED", [query, table, -1], [scores], "FullyConnectedOptions", version=version)
        return scores

    def _some_scores(self, builder: GraphBuilder, shape: tuple[int, ...], name: str) -> int:
        """Adds a tensor of scores of the search's type."""
        return builder.tensor(shape, np.float32, name) if self.asymmetric else _int8(builder, shape, name, _STEP)

    def _top_of_runs(self, builder: GraphBuilder, scores: dict[str, int]) -> tuple[int, int]:
        """Adds the best k of the best k runs and the tail."""
        layout, k, version = self.runs, self.k, 1 if self.asymmetric else 2
        image = _reshaped(builder, scores["codes"], (1, layout.depth, 1, layout.blocks))
        pooled = self._some_scores(builder, (1, 1, 1, layout.blocks), "maxima")
        # The fastest maximum over lines that the runtime has.
        builder.operator(
            "MAX_POOL_2D",
            [image],
            [pooled],
            "Pool2DOptions",
            version=version,
            padding=schema.Padding.VALID,
            strideW=1,
            strideH=1,
            filterWidth=1,
            filterHeight=layout.depth,
        )
        _, best_runs = self._top(builder, _reshaped(builder, pooled, (1, layout.blocks)))
        chosen = _ascending(builder, best_runs, k)
        matrix = _reshaped(builder, scores["codes"], (1, layout.depth, layout.blocks))
        lines = builder.gather(matrix, chosen, (1, layout.depth, k), axis=2, batch_dims=1)
        candidates = self._some_scores(builder, (1, k, layout.depth), "candidates")
        builder.operator(
            "TRANSPOSE", [lines, builder.integers([0, 2, 1])], [candidates], "TransposeOptions", version=version
        )
        candidates = _reshaped(builder, candidates, (1, k * layout.depth))
        if layout.tail:
            joined = self._some_scores(builder, (1, k * layout.depth + layout.tail), "candidates_and_tail")
            builder.operator(
                "CONCATENATION", [candidates, scores["tail"]], [joined], "ConcatenationOptions", version=version, axis=1
            )
            candidates = joined
        best, places = self._top(builder, candidates)
        return best, self._rows(builder, chosen, places)

    def _rows(self, builder: GraphBuilder, chosen: int, places: int) -> int:
        """Adds the row of each place: runs lie one after the other, and the tail follows as if it were one more."""
        numbers = builder.tensor((1, self.k + 1), np.int32, "runs_and_tail")
        edge = builder.constant(np.array([[0, 0], [0, 1]], np.int32), "edge")
        builder.operator(
            "PADV2", [chosen, edge, builder.integers(self.runs.blocks)], [numbers], "PadV2Options", version=1
        )
        depth = builder.integers(self.runs.depth)
        place = builder.binary("FLOOR_DIV", places, depth, "FloorDivOptions")
        run = builder.gather(numbers, place, (1, self.k), axis=1, batch_dims=1)
        first = builder.binary("MUL", run, depth, "MulOptions")
        return builder.binary("ADD", first, builder.binary("FLOOR_MOD", places, depth, "FloorModOptions"), "AddOptions")

    def _top(self, builder: GraphBuilder, scores: int) -> tuple[int, int]:
        values = self._some_scores(builder, (1, self.k), "top_values")
        places = builder.tensor((1, self.k), np.int32, "top_places")
        version = 1 if self.asymmetric else 2
        builder.operator(
            "TOPK_V2", [scores, builder.integers(self.k)], [values, places], "TopKV2Options", version=version
        )
        return values, places


def stored_codes(main: np.ndarray, tail: np.ndarray, gallery_size: int, bits: int, k: int) -> np.ndarray:
    """Returns the packed codes uint8 [G, K / 8] in the order of the gallery.

    Args:
        main: uint8, the bytes of the buffer "codes"; empty where there is none.
        tail: uint8, the bytes of the buffer "tail"; empty where there is none.
        gallery_size: G.
        bits: K.
        k: neighbours of the file's answers, which set the layout.
    """
    layout = runs(gallery_size, k)
    sizes = [(main, layout.main), (tail, layout.tail)]
    blocks, rest = (octets.view(np.int8)[: rows * bits].reshape(rows, bits) for octets, rows in sizes)
    return pack_codes(np.concatenate([in_order(blocks, layout) if layout.main else blocks, rest]))


def _int8(builder: GraphBuilder, shape: tuple[int, ...], name: str, scale: float) -> int:
    quantization = schema.QuantizationParametersT(
        scale=np.array([scale], np.float32), zeroPoint=np.zeros(1, np.int64), quantizedDimension=0
    )
    return builder.tensor(shape, np.int8, name, quantization=quantization)


def _reshaped(builder: GraphBuilder, tensor: int, shape: tuple[int, ...]) -> int:
    """Adds a reshape that keeps the scale and whose first axis follows the number of queries."""
    result = builder.reshape(tensor, shape, free=True)
    builder.graph.tensors[result].quantization = builder.graph.tensors[tensor].quantization
    return result


def _ascending(builder: GraphBuilder, numbers: int, count: int) -> int:
    """Adds the sorting of int32 [1, count]: the largest of the negatives come first."""
    shape = (1, count)
    negative, sorted_, places, result = (
        builder.tensor(shape, np.int32, name) for name in ("negative", "sorted", "at", "runs")
    )
    builder.operator("NEG", [numbers], [negative], "NegOptions")
    builder.operator("TOPK_V2", [negative, builder.integers(count)], [sorted_, places], "TopKV2Options")
    builder.operator("NEG", [sorted_], [result], "NegOptions")
    return result
