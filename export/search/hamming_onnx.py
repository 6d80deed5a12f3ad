"""The exact search over binary codes as ONNX operators, for any number of queries at once.

The file holds packed codes, K / 8 bytes a row. The graph unpacks them by operators on constants alone, which a runtime
does once, when it opens the file; then a search is one product of a query of integers with columns of 0 and 1. That
product differs from the one with -1 and 1 by what depends on the query alone, so it ranks the same.

A query is its code, -1 and 1, or, where the gallery is asymmetric, its embedding in 127ths of its largest coordinate.
"""

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from export.retriever.gallery import Gallery
from export.search.hamming import runs

_LEVELS = np.float32(127)
STORED = "search/codes_"
"""Before the role in the names of the constants that hold the gallery: main (the runs) and tail."""


def codes_of(graph: onnx.GraphProto) -> np.ndarray | None:
    """Returns the packed codes uint8 [G, K / 8] that `OnnxHamming` stored in a graph, None where there are none."""
    parts = {value.name: value for value in graph.initializer if value.name.startswith(STORED)}
    found = [numpy_helper.to_array(parts[STORED + role]) for role in ("main", "tail") if STORED + role in parts]
    return np.concatenate(found) if found else None


class OnnxHamming:
    """Adds the search of one gallery of codes to a graph. Q is the number of queries."""

    def __init__(self, graph: onnx.GraphProto, gallery: Gallery, k: int) -> None:
        """Notes the plan; `add` appends the constants and nodes."""
        self.graph = graph
        self.gallery = gallery
        self.k = k
        self.runs = runs(len(gallery.ids), k)

    def add(self, query: str) -> tuple[str, str]:
        """Adds the search.

        Args:
            query: name of a value float32 [Q, K].

        Returns:
            Names of scores float32 [Q, k], the cosines of the codes, best first, and row numbers int64 [Q, k].
        """
        levels, zero, step = self._levels(query) if self.gallery.asymmetric else self._code(query)
        codes, main = self.gallery.values, self.runs.main
        scores = {
            role: self._node("MatMulInteger", levels, self._columns(role, part), self._constant(np.uint8(zero)))
            for role, part in (("main", codes[:main]), ("tail", codes[main:]))
            if len(part)
        }
        best, rows = self._top_of_runs(scores) if main else self._top_k(scores["tail"], self.k)
        signed = self._node("Sub", self._node("Cast", levels, to=TensorProto.FLOAT), self._constant(np.float32(zero)))
        total = self._node("ReduceSum", signed, self._constant(np.array([1])), keepdims=1)
        twice = self._node("Mul", self._node("Cast", best, to=TensorProto.FLOAT), self._constant(np.float32(2)))
        return self._node("Mul", self._node("Sub", twice, total), step), rows

    def _code(self, query: str) -> tuple[str, int, str]:
        """Adds the query's code; returns uint8 [Q, K], the level that stands for 0, and float32 cosine a level."""
        positive = self._node("GreaterOrEqual", query, self._constant(np.float32(0)))
        code = self._node("Where", positive, self._constant(np.uint8(2)), self._constant(np.uint8(0)))
        return code, 1, self._constant(np.float32(1 / self.gallery.dimension))

    def _levels(self, query: str) -> tuple[str, int, str]:
        """Adds the query in 127ths of its largest coordinate; returns as `_code`, the last one [Q, 1]."""
        largest = self._node("ReduceMax", self._node("Abs", query), axes=[1], keepdims=1)
        size = self._node("Div", self._node("Max", largest, self._constant(np.float32(1e-9))), self._constant(_LEVELS))
        signed = self._node("Round", self._node("Div", query, size))
        levels = self._node("Cast", self._node("Add", signed, self._constant(np.float32(128))), to=TensorProto.UINT8)
        root = self._constant(np.float32(self.gallery.dimension**-0.5))
        return levels, 128, self._node("Mul", size, root)

    def _columns(self, role: str, codes: np.ndarray) -> str:
        """Adds int8 [K, rows] of 0 and 1, from constants alone."""
        name = STORED + role
        self.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(codes), name))
        octets = self._node("Reshape", name, self._constant(np.array([*codes.shape, 1])))
        # Up to the highest bit and down to the lowest one: only the bit itself remains.
        left = self._node("BitShift", octets, self._constant(np.arange(8, dtype=np.uint8)), direction="LEFT")
        bit = self._node("BitShift", left, self._constant(np.uint8(7)), direction="RIGHT")
        rows = self._node("Reshape", bit, self._constant(np.array([len(codes), self.gallery.dimension])))
        return self._node("Transpose", self._node("Cast", rows, to=TensorProto.INT8), perm=[1, 0])

    def _top_of_runs(self, scores: dict[str, str]) -> tuple[str, str]:
        """Adds the best k of the best k runs and the tail."""
        layout, k = self.runs, self.k
        matrix = self._node("Reshape", scores["main"], self._constant(np.array([0, layout.blocks, layout.depth])))
        _, best_runs = self._top_k(self._node("ReduceMax", matrix, axes=[2], keepdims=0), k)
        chosen, _ = self._top_k(best_runs, k, largest=0)
        lines = self._node("Reshape", chosen, self._constant(np.array([0, k, 1])))
        lines = self._node("Expand", lines, self._constant(np.array([1, 1, layout.depth])))
        candidates = self._node("GatherElements", matrix, lines, axis=1)
        candidates = self._node("Reshape", candidates, self._constant(np.array([0, k * layout.depth])))
        if layout.tail:
            candidates = self._node("Concat", candidates, scores["tail"], axis=1)
        best, places = self._top_k(candidates, k)
        # Runs lie one after the other, and the tail follows as if it were one more.
        edge, blocks = self._constant(np.array([0, 0, 0, 1])), self._constant(np.int64(layout.blocks))
        depth = self._constant(np.int64(layout.depth))
        numbers = self._node("Pad", chosen, edge, blocks)
        run = self._node("GatherElements", numbers, self._node("Div", places, depth), axis=1)
        return best, self._node("Add", self._node("Mul", run, depth), self._node("Mod", places, depth))

    def _top_k(self, values: str, count: int, **attributes: int) -> tuple[str, str]:
        best, places = self._nodes(2, "TopK", values, self._constant(np.array([count])), **attributes)
        return best, places

    def _constant(self, array: Any) -> str:
        name = f"search/constant_{len(self.graph.initializer)}"
        self.graph.initializer.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def _node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        return self._nodes(1, operator, *inputs, **attributes)[0]

    def _nodes(self, outputs: int, operator: str, *inputs: str, **attributes: Any) -> list[str]:
        """Appends a node and returns the names of its outputs."""
        name = f"search/{operator}_{len(self.graph.node)}"
        names = [f"{name}:{number}" for number in range(outputs)]
        self.graph.node.append(helper.make_node(operator, list(inputs), names, name=name, **attributes))
        return names
