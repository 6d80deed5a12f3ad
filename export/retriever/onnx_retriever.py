"""`retriever.onnx`: student and gallery as one ONNX graph, for servers; batches of any size.

The graph has two inputs whose rows are searched together, so that one set of weights serves both: `image` uint8
[n, S, S, 3] and `query` float32 [m, D], embeddings made earlier. `query` may be left out (m = 0), images may be none
(n = 0). Outputs: `embedding` float32 [n + m, D], `scores` float32 [n + m, k], `ids` int32 [n + m, k], best first.
A file without a student has the input `query` alone.
"""

import copy
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from export.formats.checks import Reference, check_onnx_retriever
from export.retriever.gallery import Gallery
from export.retriever.sidecar import RETRIEVER_KEY, Sidecar
from export.search.hamming_onnx import OnnxHamming
from export.search.onnx_search import OPSET, OnnxSearch, gallery_of
from kdistill.errors import KdistillError
from kdistill.files.whole import sha256_of, whole_file

MAX_BYTES = 2**31 - 2**20
"""The size of a protobuf message has 32 bits with a sign."""


def write_onnx_retriever(
    student: onnx.ModelProto | None,
    gallery: Gallery,
    path: Path | str,
    *,
    k: int,
    reference: Reference | None = None,
) -> None:
    """Writes the graph and its sidecar, once the file has proved to work.

    Args:
        student: a graph from `image` to `embedding` with an open batch; None for a file that searches embeddings only.
        gallery: its rows.
        path: where to write.
        k: neighbours in an answer.
        reference: of the Keras student that the graph was made from, which the file is then compared with.

    Raises:
        ArgumentError: k outside 1 to G.
        KdistillError: another dimension than the student's, a fixed batch, or more than the 2 GiB of one file.
    """
    gallery.check_k(k)
    if sum(codes.nbytes for codes in (gallery.values, gallery.residual) if codes is not None) > MAX_BYTES:
        raise KdistillError(f"{path} would hold more than the 2 GiB of one ONNX file: use shards or int8")
    dimension = gallery.dimension
    model = _without_student() if student is None else _with_student(student, dimension)
    graph = model.graph
    side = None if student is None else _side(student)
    graph.input.append(helper.make_tensor_value_info("query", TensorProto.FLOAT, ["queries", dimension]))
    queries = "query"
    if student is not None:
        # An input with an initialiser of its name may be left out: there are no further queries then.
        graph.initializer.append(numpy_helper.from_array(np.empty((0, dimension), np.float32), "query"))
        queries = "queries"
        graph.node.append(helper.make_node("Concat", ["student/embedding", "query"], [queries], axis=0))
    search = OnnxHamming if gallery.holds_codes else OnnxSearch
    scores, ids = search(graph, gallery, k).add(queries)
    types = {"embedding": TensorProto.FLOAT, "scores": TensorProto.FLOAT, "ids": TensorProto.INT32}
    for (name, kind), value, width in zip(types.items(), (queries, scores, ids), (dimension, k, k), strict=True):
        graph.node.append(helper.make_node("Cast", [value], [name], to=kind))
        graph.output.append(helper.make_tensor_value_info(name, kind, ["rows", width]))
    known = {entry.key: entry.value for entry in model.metadata_props}
    helper.set_model_props(model, known | {RETRIEVER_KEY: json.dumps(gallery.description(k))})
    onnx.checker.check_model(model)
    with whole_file(path) as temporary:
        onnx.save(model, str(temporary))
        check_onnx_retriever(temporary, str(path), gallery, k, side, reference)
    digest, scanned, measured = sha256_of(path), gallery.scanned, gallery.measured
    Sidecar(gallery.ids, k, dimension, gallery.precision, {}, digest, scanned, batches=True, measured=measured).write(
        path
    )


def take_apart(path: Path | str, sidecar: Sidecar) -> tuple[onnx.ModelProto | None, Gallery]:
    """Returns the student alone, as `open_student` does (None where the file has none), and the gallery, bit for bit.

    Raises:
        KdistillError: a damaged or foreign file.
    """
    model = _loaded(path)
    if RETRIEVER_KEY not in {entry.key for entry in model.metadata_props}:
        raise KdistillError(f"{path} is not a retriever written by this program")
    try:
        gallery = gallery_of(model.graph, sidecar.ids, asymmetric=sidecar.precision == "asymmetric")
        gallery = dataclasses.replace(gallery, measured=sidecar.measured)
    except (KeyError, ValueError) as error:
        raise KdistillError(f"{path} is damaged or of an older version; build it again ({error})") from error
    if "image" not in {value.name for value in model.graph.input}:
        return None, gallery
    return _student_alone(model), gallery


def open_student(student: Any) -> onnx.ModelProto:
    """Returns a Keras student, or an .onnx file written by `export_onnx`, as a graph.

    Raises:
        KdistillError: the file is missing, damaged or foreign.
    """
    if not isinstance(student, str | Path):
        from export.formats.metadata import file_metadata
        from export.formats.onnx import convert_student

        model = convert_student(student)
        helper.set_model_props(model, file_metadata(student, "float32"))
        return model
    model = _loaded(student)
    names = [value.name for value in model.graph.input], [value.name for value in model.graph.output]
    if names != (["image"], ["embedding"]):
        raise KdistillError(f"{student} is not a student exported by this program: its inputs and outputs differ")
    return model


def _loaded(path: Path | str) -> onnx.ModelProto:
    try:
        model = onnx.load(str(path))
        onnx.checker.check_model(model)
    except OSError as error:
        raise KdistillError(f"{path} cannot be read: {error.strerror or error}") from error
    # A damaged protobuf fails in classes that share no base but Exception.
    except Exception as error:
        raise KdistillError(f"{path} is not an ONNX file, or it is damaged") from error
    return model


def _student_alone(model: onnx.ModelProto) -> onnx.ModelProto:
    """Cuts a retriever's graph behind the student's embedding, in place: the reverse of `_with_student`."""
    graph, needed, nodes = model.graph, {"student/embedding"}, []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            needed.update(node.input)
            nodes.append(node)
    initializers = [value for value in graph.initializer if value.name in needed]
    image = [value for value in graph.input if value.name == "image"]
    embedding = next(value for value in graph.output if value.name == "embedding")
    embedding.type.tensor_type.shape.dim[0].dim_param = "batch"
    for field, values in (
        (graph.node, nodes[::-1]),
        (graph.initializer, initializers),
        (graph.input, image),
        (graph.output, [embedding]),
    ):
        kept = [copy.deepcopy(value) for value in values]
        del field[:]
        field.extend(kept)
    _rename(graph, "student/embedding", "embedding")
    facts = {entry.key: entry.value for entry in model.metadata_props if entry.key != RETRIEVER_KEY}
    helper.set_model_props(model, facts)
    return model


def _rename(graph: onnx.GraphProto, old: str, new: str) -> None:
    for node in graph.node:
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                if name == old:
                    names[place] = new


def _with_student(student: onnx.ModelProto, dimension: int) -> onnx.ModelProto:
    """Returns a copy whose embedding is an inner value, `student/embedding`."""
    model = onnx.ModelProto()
    model.CopyFrom(student)
    batch, own = model.graph.output[0].type.tensor_type.shape.dim
    if own.dim_value != dimension:
        raise KdistillError(f"the gallery has {dimension} dimensions, the student's embedding has {own.dim_value}")
    if batch.dim_value:
        raise KdistillError(f"the student takes a fixed batch of {batch.dim_value}; export it with an open batch")
    _rename(model.graph, "embedding", "student/embedding")
    del model.graph.output[:]
    return model


def _side(student: onnx.ModelProto) -> int:
    height, width = (axis.dim_value for axis in student.graph.input[0].type.tensor_type.shape.dim[1:3])
    if height != width:
        raise KdistillError(f"the student takes images {height} pixels high and {width} wide; it must take squares")
    return int(height)


def _without_student() -> onnx.ModelProto:
    graph = helper.make_graph([], "retriever", [], [])
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8, producer_name="kdistill"
    )
