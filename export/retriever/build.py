"""Builds a retriever: the student and a gallery in one file (TFLite or ONNX), with the ids in a JSON file beside it."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from export.formats.checks import Reference, check_tflite_retriever, reference_of
from export.formats.flatbuffer import (
    AlignedBuffer,
    add_metadata,
    read_model,
    refuse_unportable,
    signatures,
    write_model,
)
from export.formats.graph import TYPES, GraphBuilder
from export.retriever.gallery import Gallery, build_gallery
from export.retriever.sidecar import RETRIEVER_KEY, Sidecar
from export.search.hamming_tflite import HammingGraph
from export.search.tflite_search import SearchGraph
from kdistill.errors import ArgumentError, KdistillError
from kdistill.files.whole import sha256_of

SUFFIXES = (".tflite", ".onnx")


def build_retriever(
    student: Any,
    embeddings: np.ndarray,
    ids: Sequence[str],
    path: Path | str,
    *,
    k: int = 10,
    precision: str = "float32",
    queries: np.ndarray | None = None,
) -> None:
    """Writes a retriever and its sidecar (see `sidecar.sidecar_path`); the suffix of `path` picks the format.

    Inputs and outputs of an .onnx file: see `onnx_retriever.py`. Signatures of a .tflite file: `embed` (image
    uint8 [1, H, W, 3] -> embedding float32 [1, D]), `search` (image -> scores float32 [k], ids int32 [k]),
    `search_embedding` (embedding -> scores [1, k], ids [1, k]; resized to [Q, D], for Q queries). `ids` are row numbers
    of the gallery; the sidecar maps them to names.

    Args:
        student: a Keras student, or the path of a file of the same format written by `export_tflite` or `export_onnx`
            (with an open batch).
        embeddings: float [G, D], the student's own embeddings of the gallery; may be memory-mapped.
        ids: G unique names.
        path: where to write; the name ends in .tflite or .onnx.
        k: neighbours in an answer.
        precision: how the gallery is stored: "float32", "float16", "int8"; as codes "binary" where queries are codes,
            "asymmetric" where they are embeddings (see docs/hashing.md).
        queries: float [n, D] of norm 1, embeddings of real queries that are not in the gallery, by which an int8 search
            is judged and chosen, at least 100; None to make up others (see `export/search/outside_queries.py`).

    Raises:
        ArgumentError: k outside 1 to G, an unknown precision, or a path of another suffix.
        KdistillError: see `build_gallery`; another dimension than the student's; a file above 2 GiB.
    """
    suffix = _checked_suffix(path)
    gallery = build_gallery(embeddings, ids, precision, k=max(1, k), queries=queries)
    gallery.check_k(k)
    reference = None if isinstance(student, str | Path) else reference_of(student)
    if suffix == ".onnx":
        from export.retriever.onnx_retriever import open_student, write_onnx_retriever

        write_onnx_retriever(open_student(student), gallery, path, k=k, reference=reference)
    else:
        write_retriever(_student_model(student), gallery, path, k=k, reference=reference)


def build_search(
    embeddings: np.ndarray,
    ids: Sequence[str],
    path: Path | str,
    *,
    k: int = 10,
    precision: str = "float32",
    queries: np.ndarray | None = None,
) -> None:
    """Writes a file that searches embeddings alone, and its sidecar: for embeddings made elsewhere.

    Arguments and errors as in `build_retriever`.
    """
    suffix = _checked_suffix(path)
    gallery = build_gallery(embeddings, ids, precision, k=max(1, k), queries=queries)
    if suffix == ".onnx":
        from export.retriever.onnx_retriever import write_onnx_retriever

        write_onnx_retriever(None, gallery, path, k=k)
        return
    write_retriever(empty_model(), gallery, path, k=k)


def empty_model() -> Any:
    """Returns a `ModelT` without a graph, to which `write_retriever` adds a search alone."""
    return schema.ModelT(
        version=3, description="kdistill", operatorCodes=[], subgraphs=[], buffers=[AlignedBuffer(data=None)]
    )


def write_retriever(
    model: Any, gallery: Gallery, path: Path | str, *, k: int, reference: Reference | None = None
) -> None:
    """Adds the search signatures to a `ModelT` and writes model and sidecar, once the file has proved to work.

    Subgraph 0, where there is one, is a student: the file then has `embed` and `search` too. With the `reference` of
    the Keras student that it was made from, the file is compared with it.
    """
    gallery.check_k(k)
    dimension = gallery.dimension
    side, kind = None, "uint8"
    graph = (HammingGraph if gallery.holds_codes else SearchGraph)(model, gallery, k)
    if model.subgraphs:
        embed = model.subgraphs[0]
        own = int(embed.tensors[int(embed.outputs[0])].shape[-1])
        _, height, width, _ = (int(length) for length in embed.tensors[int(embed.inputs[0])].shape)
        if height != width:
            raise KdistillError(f"the student takes images {height} pixels high and {width} wide; it must take squares")
        side = height
        kind = next(str(dtype) for dtype, number in TYPES.items() if number == embed.tensors[int(embed.inputs[0])].type)
        if own != dimension:
            raise KdistillError(f"the gallery has {dimension} dimensions, the student's embedding has {own}")
        signatures(model)["serving_default"].signatureKey = "embed"
        search = GraphBuilder(model, "search")
        (embedding,) = search.inline(embed)
        best = [search.reshape(tensor, (k,)) for tensor in graph.add(search, embedding)]
        search.finish(best, ["image"], ["scores", "ids"])

    by_embedding = GraphBuilder(model, "search_embedding")
    query = by_embedding.input((1, dimension), np.float32, "embedding")
    by_embedding.finish(graph.add(by_embedding, query), ["embedding"], ["scores", "ids"])

    add_metadata(model, {RETRIEVER_KEY: json.dumps(gallery.description(k))})
    refuse_unportable(model, str(path))
    write_model(
        model, path, check=lambda file: check_tflite_retriever(file, str(path), gallery, k, side, reference, kind)
    )
    facts = (gallery.ids, k, dimension, gallery.precision, graph.buffers, sha256_of(path), gallery.scanned)
    probes = None if gallery.lists is None else gallery.lists.probes
    Sidecar(*facts, batches=True, measured=gallery.measured, probes=probes).write(path)


def _student_model(student: Any) -> Any:
    if isinstance(student, str | Path):
        model = read_model(student)
    else:
        from export.formats.metadata import file_metadata  # TensorFlow, needed for a Keras student only
        from export.formats.tflite import convert_student

        model = convert_student(student)
        add_metadata(model, file_metadata(student, "float32"))
    if set(signatures(model)) != {"serving_default"}:
        raise KdistillError(f"{student} is not a student exported by this program: its signatures differ")
    return model


def _checked_suffix(path: Path | str) -> str:
    suffix = Path(path).suffix
    if suffix not in SUFFIXES:
        raise ArgumentError(f"a retriever's file name ends in {' or '.join(SUFFIXES)}, {str(path)!r} does not")
    return suffix
