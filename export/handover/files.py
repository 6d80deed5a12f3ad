"""A gallery for other search tools: faiss, usearch, Parquet."""

from pathlib import Path
from typing import Any

import numpy as np

from export.retriever.gallery import Gallery
from kdistill.console.optional import optional
from kdistill.errors import KdistillError, first_line
from kdistill.files.whole import whole_file

_CHUNK = 65536


def to_faiss(gallery: Gallery) -> Any:
    """Returns a faiss.IndexFlatIP with the gallery's rows, for codes an IndexBinaryFlat; its row numbers are ours.

    Raises:
        KdistillError: faiss is not installed.
    """
    faiss = optional("faiss", "search")
    if gallery.holds_codes:
        index = faiss.IndexBinaryFlat(gallery.dimension)
        index.add(np.ascontiguousarray(gallery.values))
        return index
    index = faiss.IndexFlatIP(gallery.dimension)
    for start in range(0, len(gallery.ids), _CHUNK):
        index.add(gallery.rows(start, start + _CHUNK))
    return index


def write_index(index: Any, path: Path | str) -> None:
    """Writes an index made by `to_faiss` or `to_usearch` in its library's own format, whole or not at all.

    Raises:
        KdistillError: the library cannot write it.
    """
    with whole_file(path) as temporary:
        try:
            if hasattr(index, "save"):
                index.save(str(temporary))
            else:
                faiss = optional("faiss", "search")
                binary = isinstance(index, faiss.IndexBinary)
                (faiss.write_index_binary if binary else faiss.write_index)(index, str(temporary))
        # What both raise for a folder or disk that takes nothing, and for a name that is no UTF-8.
        except (RuntimeError, TypeError, ValueError) as error:
            raise KdistillError(f"{path} cannot be written: {first_line(error)}") from error


def to_usearch(gallery: Gallery) -> Any:
    """Returns a usearch.index.Index (inner product of float32, for codes Hamming of bits); its keys are row numbers.

    Raises:
        KdistillError: usearch is not installed.
    """
    usearch = optional("usearch.index", "search")
    metric, dtype = ("hamming", "b1") if gallery.holds_codes else ("ip", "f32")
    index = usearch.Index(ndim=gallery.dimension, metric=metric, dtype=dtype)
    for start in range(0, len(gallery.ids), _CHUNK):
        stop = start + _CHUNK
        rows = np.ascontiguousarray(gallery.values[start:stop]) if gallery.holds_codes else gallery.rows(start, stop)
        index.add(np.arange(start, start + len(rows), dtype=np.uint64), rows)
    return index


def to_parquet(gallery: Gallery, path: Path | str) -> None:
    """Writes a table in pieces: `id` (text) and `embedding` (list of D float32); for codes `id`, `code` and `bits`.

    `code` is the K / 8 bytes, the first coordinate in the highest bit of the first one; `bits` is K (int32).

    Raises:
        KdistillError: pyarrow is not installed, or the disk is full.
    """
    arrow, parquet = optional("pyarrow", "parquet"), optional("pyarrow.parquet", "parquet")
    fields = [("id", arrow.string())]
    if gallery.holds_codes:
        width = gallery.values.shape[1]
        fields += [("code", arrow.binary(width)), ("bits", arrow.int32())]
    else:
        fields += [("embedding", arrow.list_(arrow.float32(), gallery.dimension))]
    schema = arrow.schema(fields)
    # An open file: the library's own opening takes names of UTF-8 only.
    with (
        whole_file(path) as temporary,
        open(temporary, "wb") as file,
        parquet.ParquetWriter(file, schema) as writer,
    ):
        for start in range(0, len(gallery.ids), _CHUNK):
            names = gallery.ids[start : start + _CHUNK]
            columns = [arrow.array([portable_id(name) for name in names], arrow.string())]
            if gallery.holds_codes:
                codes = [row.tobytes() for row in gallery.values[start : start + _CHUNK]]
                columns.append(arrow.array(codes, arrow.binary(width)))
                columns.append(arrow.array([gallery.dimension] * len(names), arrow.int32()))
            else:
                rows = arrow.array(gallery.rows(start, start + _CHUNK).reshape(-1))
                columns.append(arrow.FixedSizeListArray.from_arrays(rows, gallery.dimension))
            writer.write_table(arrow.Table.from_arrays(columns, schema=schema))


def portable_id(name: str) -> str:
    """Returns a name as text that UTF-8 can hold: bytes of a file's name that are none appear as escapes."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")
