"""The search as TFLite operators: scores by one dense layer, the best found block by block, int8 ranked again.

Four ideas, each measured by `python -m benchmarks.search`:

- A gallery as the weights of a dense layer is read once, by the fastest kernel that the runtime has.
- The top k is found block by block (see `export/search/layout.py`), which is exact.
- int8 rows blur the order of near neighbours. Each row keeps a second int8 code of what the first one lost, which is
  read for a shortlist only: 15 bits of accuracy at the speed of 8. Codes are of differences from the mean row.
- Of a large int8 gallery the scan reads the leading coordinates only (see `first_pass.py`); the others lie in a
  table of their own, which is read for the shortlist.
- Of a very large one it reads some lists of rows (see `lists.py`): their blocks are gathered and multiplied.

The graph is written for one query, since some runtimes refuse open axes; where the input is resized to [Q, D], all
shapes follow, and one product of matrices serves the batch.
"""

from typing import Any

import numpy as np

from export.formats.graph import GraphBuilder, store
from export.retriever.gallery import RESIDUAL_STEPS, Gallery
from export.search.layout import PADDING, Layout, layout
from export.search.lists import DEPTH, SLOTS, Lists

# Versions of FULLY_CONNECTED: 1 float, 12 float input with int8 weights that have one scale a row.
_DENSE_VERSION = {"float32": 1, "float16": 1, "int8": 12}


class SearchGraph:
    """Adds the search of one gallery to subgraphs of a model; the gallery's bytes are stored once."""

    def __init__(self, model: Any, gallery: Gallery, k: int) -> None:
        """Appends the gallery's bytes to the buffers of `model` (a `ModelT`)."""
        self.gallery = gallery
        self.k = k
        self.scanned = gallery.scanned or gallery.dimension
        self.count = k if gallery.residual is None else gallery.shortlist(k)
        self.rows_of_slots = None if gallery.lists is None else gallery.lists.rows_of_slots()
        self.layout = layout(len(gallery.ids), self.count)
        if gallery.lists is not None and self.rows_of_slots is not None:
            self.layout = Layout(gallery.lists.probes * SLOTS // DEPTH, (DEPTH,))
            self.count = min(self.count, self.layout.groups)
        self.values = self._laid_out(gallery.values[:, : self.scanned])
        self.buffers = {"gallery": store(model, self.values)}
        self.bias = None if gallery.lists is not None else self.layout.bias(len(gallery.ids))
        if self.bias is not None:
            self.buffers["padding"] = store(model, self.bias)
        if gallery.scale is not None:
            self.scale = self._laid_out(gallery.scale, 1)
            self.buffers["scale"] = store(model, self.scale)
        if gallery.residual is not None and gallery.centre is not None:
            self.buffers["residual"] = store(model, gallery.residual)
            self.centre = gallery.centre[None]
            self.buffers["centre"] = store(model, self.centre)
        if gallery.first_pass is not None:
            self.unscanned = np.ascontiguousarray(gallery.values[:, self.scanned :])
            self.buffers["unscanned"] = store(model, self.unscanned)
            # The weights of a dense layer are [outputs, inputs]. The leading outputs have a layer of their own: the
            # runtime's SLICE does not follow a query that is resized.
            weights = np.ascontiguousarray(gallery.first_pass.rotation.T)
            self.turns = {"rotation": weights, "leading_rotation": weights[: self.scanned]}
            self.buffers |= {name: store(model, part) for name, part in self.turns.items()}

        if gallery.lists is not None and self.rows_of_slots is not None:
            self.centres = np.ascontiguousarray(gallery.lists.centres)
            self.buffers["centres"] = store(model, self.centres)
            self.buffers["rows"] = store(model, self.rows_of_slots)

    def _laid_out(self, values: np.ndarray, fill: float = 0) -> np.ndarray:
        """Returns rows [G, ...] as they are stored: in the slots of their lists, else padded to full blocks."""
        if self.rows_of_slots is None:
            return self.layout.pad(values, fill)
        laid_out = np.ascontiguousarray(values)[np.maximum(self.rows_of_slots, 0)]
        laid_out[self.rows_of_slots < 0] = 0
        return laid_out

    def add(self, builder: GraphBuilder, query: int) -> list[int]:
        """Adds the search to a subgraph.

        Args:
            builder: the subgraph.
            query: tensor float32 [1, D].

        Returns:
            Tensors scores float32 [1, k], best first, and row numbers int32 [1, k].
        """
        turned = leading = query
        if self.gallery.first_pass is not None:
            turned, leading = self._turn(builder, query)
        slots = None
        if self.gallery.lists is not None:
            slots = self._top_slots(builder, query, leading, self.gallery.lists)
            table = builder.constant(np.asarray(self.rows_of_slots), "rows", buffer=self.buffers["rows"])
            rows = builder.gather(table, slots, (1, self.count))
        else:
            scores = self._dense(builder, leading)
            best, rows = self._top(builder, scores, self.layout.padded, self.layout.depths)
        if self.gallery.residual is None:
            return [best, rows]
        best, places = self._rank_again(builder, turned, rows, slots, self.gallery.residual)
        # The gallery's centre was taken off every row: what it adds to all scores of a query.
        shift = self._dense_float(builder, query, self.centre, "centre")
        best = builder.binary("ADD", best, shift, "AddOptions")
        return [best, builder.gather(rows, places, (1, self.k), axis=1, batch_dims=1)]

    def _turn(self, builder: GraphBuilder, query: int) -> tuple[int, int]:
        """Adds the rotated query float32 [1, D], and its leading coordinates."""
        turned, leading = (
            self._dense_float(builder, query, self.turns[name], name) for name in ("rotation", "leading_rotation")
        )
        return turned, leading

    def _dense_float(self, builder: GraphBuilder, query: int, weights: np.ndarray, name: str) -> int:
        """Adds the products of the query with float32 weights that are stored as `name`."""
        table = builder.constant(weights, name, buffer=self.buffers[name])
        products = builder.tensor((1, len(weights)), np.float32, f"{name}_products")
        builder.operator("FULLY_CONNECTED", [query, table, -1], [products], "FullyConnectedOptions")
        return products

    def _dense(self, builder: GraphBuilder, query: int) -> int:
        precision = self.gallery.precision
        scale = self.scale if precision == "int8" else None
        weights = builder.constant(self.values, "gallery", scale=scale, buffer=self.buffers["gallery"])
        if precision == "float16":
            weights = builder.dequantize(weights)
        bias = -1
        if self.bias is not None:
            bias = builder.constant(self.bias, "padding", buffer=self.buffers["padding"])
        scores = builder.tensor((1, self.layout.padded), np.float32, "scores")
        builder.operator(
            "FULLY_CONNECTED",
            [query, weights, bias],
            [scores],
            "FullyConnectedOptions",
            version=_DENSE_VERSION[precision],
        )
        return scores

    def _top(self, builder: GraphBuilder, scores: int, width: int, depths: tuple[int, ...]) -> tuple[int, int]:
        """Adds the exact top C of float32 [1, width], by way of the best C blocks where there are depths."""
        count = self.count
        if not depths:
            return builder.top_k(scores, count)
        depth, blocks = depths[0], width // depths[0]
        matrix = builder.reshape(scores, (1, depth, blocks), free=True)
        maxima = builder.tensor((1, blocks), np.float32, "maxima")
        builder.operator("REDUCE_MAX", [matrix, builder.integers([1])], [maxima], "ReducerOptions", keepDims=False)
        _, chosen = self._top(builder, maxima, blocks, depths[1:])
        candidates = builder.gather(matrix, chosen, (1, depth, count), axis=2, batch_dims=1)
        best, places = builder.top_k(builder.reshape(candidates, (1, depth * count), free=True), count)
        # place p is at [p // C, p % C] of the candidates, in row (p // C) * blocks + chosen[p % C].
        width = builder.integers(count)
        line = builder.binary("FLOOR_DIV", places, width, "FloorDivOptions")
        column = builder.binary("FLOOR_MOD", places, width, "FloorModOptions")
        start = builder.binary("MUL", line, builder.integers(blocks), "MulOptions")
        block = builder.gather(chosen, column, (1, count), axis=1, batch_dims=1)
        return best, builder.binary("ADD", start, block, "AddOptions")

    def _top_slots(self, builder: GraphBuilder, query: int, leading: int, lists: Lists) -> int:
        """Adds the slots int32 [1, C] of the best rows by their scanned codes in the nearest lists."""
        products = self._dense_float(builder, query, self.centres, "centres")
        _, chosen = builder.top_k(products, lists.probes)
        width = lists.probes * SLOTS
        shape = (len(lists.centres), SLOTS * self.scanned)
        blocks = builder.constant(
            self.values.reshape(shape), "blocks", scale=np.ones(1), buffer=self.buffers["gallery"]
        )
        codes = builder.gather(blocks, chosen, (1, lists.probes, shape[1]))
        codes = builder.reshape(codes, (1, width, self.scanned), free=True, quantized=True)
        lines = builder.reshape(self._rounded(builder, leading), (1, 1, self.scanned), free=True, quantized=True)
        sums = builder.tensor((1, 1, width), np.int32, "sums")
        builder.operator("BATCH_MATMUL", [lines, codes], [sums], "BatchMatMulOptions", version=4, adjY=True)
        products = builder.cast(builder.reshape(sums, (1, width), free=True))
        table = self.scale.reshape(len(lists.centres), SLOTS)
        scales = builder.constant(table, "scales", buffer=self.buffers["scale"])
        scales = builder.gather(scales, chosen, (1, lists.probes, SLOTS))
        scores = builder.binary(
            "MUL",
            products,
            builder.reshape(scales, (1, width), free=True),
            "MulOptions",
        )
        _, places = self._top(builder, scores, width, self.layout.depths)
        slots = builder.integers(SLOTS)
        number = builder.binary("FLOOR_DIV", places, slots, "FloorDivOptions")
        inside = builder.binary("FLOOR_MOD", places, slots, "FloorModOptions")
        start = builder.gather(chosen, number, (1, self.count), axis=1, batch_dims=1)
        return builder.binary("ADD", builder.binary("MUL", start, slots, "MulOptions"), inside, "AddOptions")

    def _rounded(self, builder: GraphBuilder, leading: int) -> int:
        """Adds the leading coordinates as int8, a scale for each query: the same for all rows, so it is not kept.

        The product of int8 with int8 is written as such: with a query in float32, XNNPACK takes it over, finds no
        constant among its factors, and answers with zeros.
        """
        shape = (1, self.scanned)
        size = builder.tensor(shape, np.float32, "size")
        builder.operator("ABS", [leading], [size], "AbsOptions")
        largest = builder.tensor((1, 1), np.float32, "largest")
        builder.operator("REDUCE_MAX", [size, builder.integers([1])], [largest], "ReducerOptions", keepDims=True)
        largest = builder.binary(
            "MAXIMUM", largest, builder.constant(np.array(1e-9, np.float32), "least"), "MaximumMinimumOptions"
        )
        shares = builder.binary("DIV", leading, largest, "DivOptions")
        return builder.quantize(shares, 1 / 127)

    def _rank_again(
        self, builder: GraphBuilder, query: int, rows: int, slots: int | None, residual: np.ndarray
    ) -> tuple[int, int]:
        """Adds the scores of the shortlist from both codes and the query in float32; their top k and its places.

        Codes and scales stand at the `slots`, where there are lists, else at the rows; an empty slot's row is -1.
        """
        dimension = residual.shape[1]
        shape = (1, self.count, dimension)
        empty = None
        if slots is None:
            slots = rows
        else:
            zero = builder.integers(0)
            empty = builder.binary("MINIMUM", rows, zero, "MaximumMinimumOptions")
            rows = builder.binary("MAXIMUM", rows, zero, "MaximumMinimumOptions")
        coarse = self._gathered(builder, slots, "gallery", self.values)
        if self.gallery.first_pass is not None:
            others = self._gathered(builder, rows, "unscanned", self.unscanned)
            joined = builder.tensor(shape, np.int8, "codes", quantization=builder.graph.tensors[coarse].quantization)
            builder.operator("CONCATENATION", [coarse, others], [joined], "ConcatenationOptions", version=2, axis=2)
            coarse = joined
        fine = self._gathered(builder, rows, "residual", residual, 1 / RESIDUAL_STEPS)
        weights = builder.binary("ADD", builder.dequantize(coarse), builder.dequantize(fine), "AddOptions")
        lines = builder.reshape(query, (1, 1, dimension), free=True)
        products = builder.tensor((1, 1, self.count), np.float32, "exact_unscaled")
        builder.operator("BATCH_MATMUL", [lines, weights], [products], "BatchMatMulOptions", adjY=True)
        cosines = builder.reshape(products, (1, self.count), free=True)
        scale = builder.constant(self.scale, "scale", buffer=self.buffers["scale"])
        exact = builder.binary("MUL", cosines, builder.gather(scale, slots, (1, self.count)), "MulOptions")
        if empty is not None:
            lost = builder.cast(empty)
            lost = builder.binary("MUL", lost, builder.constant(np.array(-PADDING, np.float32), "far"), "MulOptions")
            exact = builder.binary("ADD", exact, lost, "AddOptions")
        return builder.top_k(exact, self.k)

    def _gathered(self, builder: GraphBuilder, rows: int, name: str, codes: np.ndarray, step: float = 1.0) -> int:
        """Adds the shortlist's rows of one table of codes, int8 [1, C, columns]."""
        table = builder.constant(codes, f"{name}_codes", scale=np.array([step]), buffer=self.buffers[name])
        return builder.gather(table, rows, (1, self.count, codes.shape[1]))
