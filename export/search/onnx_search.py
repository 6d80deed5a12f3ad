"""The search as ONNX operators; the same four ideas as in `tflite_search.py`, for any number of queries at once.

The int8 scan is DynamicQuantizeLinear, MatMulInteger and a scale for each row: the pattern that ONNX Runtime fuses
into one kernel. Codes are stored as uint8 around 128, since kernels without VNNI sum uint8 by int8 in 16 bits, where
they saturate.
"""

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from export.retriever.gallery import RESIDUAL_STEPS, Gallery
from export.search.first_pass import FirstPass
from export.search.hamming_onnx import codes_of
from export.search.layout import layout

STORED = "search/gallery_"
"""Before the role in the names of the constants that hold the gallery: values, scale, residual, centre; unscanned and
rotation where a part of the coordinates is scanned."""
OPSET = 17
"""Of all our ONNX files; read by every ONNX Runtime since 1.12 and by OpenVINO and OpenCV."""
ZERO = 128
_FLOAT = {"to": TensorProto.FLOAT}


def gallery_of(graph: onnx.GraphProto, ids: tuple[str, ...], *, asymmetric: bool) -> Gallery:
    """Returns the gallery that `OnnxSearch` stored in a graph; `ids` are the names of its G rows.

    Codes lie there alike for both searches, so it is said which one is theirs.

    Raises:
        KeyError, ValueError: nothing is stored there, or not for this number of rows.
    """
    codes = codes_of(graph)
    if codes is not None:
        return Gallery(_first(codes, len(ids)), None, None, None, ids, asymmetric)
    arrays = {
        value.name.removeprefix(STORED): numpy_helper.to_array(value)
        for value in graph.initializer
        if value.name.startswith(STORED)
    }
    values = arrays["values"]
    if values.dtype != np.uint8:
        return Gallery(_first(values, len(ids)), None, None, None, ids)
    codes = np.ascontiguousarray(_first(values.T, len(ids)) ^ np.uint8(ZERO)).view(np.int8)
    residual, scale = _first(arrays["residual"], len(ids)), _first(arrays["scale"], len(ids))
    first_pass = None
    if "rotation" in arrays:
        first_pass = FirstPass(arrays["rotation"], codes.shape[1])
        codes = np.hstack([codes, _first(arrays["unscanned"], len(ids))])
    return Gallery(codes, scale, residual, arrays["centre"][:, 0], ids, first_pass=first_pass)


class OnnxSearch:
    """Adds the search of one gallery to a graph. Q is the number of queries, C of the shortlist, P of padded rows."""

    def __init__(self, graph: onnx.GraphProto, gallery: Gallery, k: int) -> None:
        """Notes the plan; `add` appends the constants and nodes."""
        self.graph = graph
        self.gallery = gallery
        self.k = k
        self.count = k if gallery.residual is None else gallery.shortlist(k)
        self.layout = layout(len(gallery.ids), self.count)

    def add(self, query: str) -> tuple[str, str]:
        """Adds the search.

        Args:
            query: name of a value float32 [Q, D].

        Returns:
            Names of scores float32 [Q, k], best first, and row numbers int64 [Q, k].
        """
        turned = leading = query
        if self.gallery.first_pass is not None:
            rotation = self._stored("rotation", self.gallery.first_pass.rotation)
            turned = self._node("MatMul", query, rotation)
            bounds = [self._constant(np.array([edge])) for edge in (0, self.gallery.first_pass.dimension, 1)]
            leading = self._node("Slice", turned, *bounds)
        scores = self._scan_int8(leading) if self.gallery.scale is not None else self._scan_float(query)
        best, rows = self._top(scores, self.layout.padded, self.layout.depths)
        if self.gallery.residual is None:
            return best, rows
        best, places = self._rank_again(turned, rows)
        shift = self._node("MatMul", query, self._stored("centre", np.asarray(self.gallery.centre)[:, None]))
        return self._node("Add", best, shift), self._node("GatherElements", rows, places, axis=1)

    def _scan_float(self, query: str) -> str:
        rows = self._stored("values", self.layout.pad(self.gallery.values))
        if self.gallery.values.dtype == np.float16:
            rows = self._node("Cast", rows, **_FLOAT)
        bias = self.layout.bias(len(self.gallery.ids))
        inputs = [query, rows] if bias is None else [query, rows, self._constant(bias)]
        return self._node("Gemm", *inputs, transB=1)

    def _scan_int8(self, query: str) -> str:
        """Adds scores that lack what the gallery's centre adds, the same for all rows of a query."""
        codes, query_scale, query_zero = self._nodes(3, "DynamicQuantizeLinear", query)
        scanned = self.gallery.values[:, : self.gallery.scanned]
        columns = self.layout.pad(scanned).T.view(np.uint8) ^ np.uint8(ZERO)
        self.columns = self._stored("values", columns)
        zero = self._constant(np.uint8(ZERO))
        products = self._node("MatMulInteger", codes, self.columns, query_zero, zero)
        scale = self._constant(self.layout.pad(np.asarray(self.gallery.scale), 1))
        scores = self._node("Mul", self._node("Cast", products, **_FLOAT), self._node("Mul", query_scale, scale))
        bias = self.layout.bias(len(self.gallery.ids))
        return scores if bias is None else self._node("Add", scores, self._constant(bias))

    def _top(self, scores: str, width: int, depths: tuple[int, ...]) -> tuple[str, str]:
        """Adds the exact top C of [Q, width], by way of the best C blocks where there are depths."""
        count = self.count
        if not depths:
            return self._top_k(scores, count)
        depth, blocks = depths[0], width // depths[0]
        matrix = self._reshape(scores, 0, depth, blocks)
        maxima = self._node("ReduceMax", matrix, axes=[1], keepdims=0)
        _, chosen = self._top(maxima, blocks, depths[1:])
        columns = self._node("Expand", self._reshape(chosen, 0, 1, count), self._constant(np.array([1, depth, 1])))
        candidates = self._node("GatherElements", matrix, columns, axis=2)
        best, places = self._top_k(self._reshape(candidates, 0, depth * count), count)
        # place p is at [p // C, p % C] of the candidates, in row (p // C) * blocks + chosen[p % C].
        line = self._constant(np.int64(count))
        start = self._node("Mul", self._node("Div", places, line), self._constant(np.int64(blocks)))
        column = self._node("GatherElements", chosen, self._node("Mod", places, line), axis=1)
        return best, self._node("Add", start, column)

    def _rank_again(self, query: str, rows: str) -> tuple[str, str]:
        """Adds the scores of the shortlist from both codes and the query in float32; their top k and its places."""
        gallery, dimension = self.gallery, self.gallery.values.shape[1]
        coarse = self._node("Gather", self.columns, rows, axis=1)  # [D, Q, C]
        coarse = self._node("Cast", self._node("Transpose", coarse, perm=[1, 2, 0]), **_FLOAT)
        coarse = self._node("Sub", coarse, self._constant(np.float32(ZERO)))
        if gallery.first_pass is not None:
            unscanned = self._stored("unscanned", gallery.values[:, gallery.first_pass.dimension :])
            others = self._node("Cast", self._node("Gather", unscanned, rows, axis=0), **_FLOAT)
            coarse = self._node("Concat", coarse, others, axis=2)
        fine = self._node("Gather", self._stored("residual", gallery.residual), rows, axis=0)  # [Q, C, D]
        fine = self._node("Div", self._node("Cast", fine, **_FLOAT), self._constant(np.float32(RESIDUAL_STEPS)))
        products = self._node("MatMul", self._node("Add", coarse, fine), self._reshape(query, 0, dimension, 1))
        scale = self._node("Gather", self._stored("scale", gallery.scale), rows, axis=0)
        exact = self._node("Mul", self._reshape(products, 0, self.count), scale)
        return self._top_k(exact, self.k)

    def _top_k(self, scores: str, count: int) -> tuple[str, str]:
        best, places = self._nodes(2, "TopK", scores, self._constant(np.array([count])))
        return best, places

    def _reshape(self, value: str, *shape: int) -> str:
        """Adds a reshape; 0 keeps the axis."""
        return self._node("Reshape", value, self._constant(np.array(shape)))

    def _stored(self, role: str, array: Any) -> str:
        """Adds a constant from which `gallery_of` reads the gallery back."""
        return self._constant(array, STORED + role)

    def _constant(self, array: Any, name: str = "") -> str:
        name = name or f"search/constant_{len(self.graph.initializer)}"
        self.graph.initializer.append(
            numpy_helper.from_array(np.ascontiguousarray(array).reshape(np.shape(array)), name)
        )
        return name

    def _node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        return self._nodes(1, operator, *inputs, **attributes)[0]

    def _nodes(self, outputs: int, operator: str, *inputs: str, **attributes: Any) -> list[str]:
        """Appends a node and returns the names of its outputs."""
        name = f"search/{operator}_{len(self.graph.node)}"
        names = [f"{name}:{number}" for number in range(outputs)]
        self.graph.node.append(helper.make_node(operator, list(inputs), names, name=name, **attributes))
        return names


def _first(rows: np.ndarray, count: int) -> np.ndarray:
    """Returns the first rows, without the padding behind them."""
    if len(rows) < count:
        raise ValueError(f"{len(rows)} rows are stored, not {count}")
    return rows[:count]
