"""A gallery for other search tools: faiss, usearch, Parquet."""

from pathlib import Path
from typing import Any

import numpy as np

from export.retriever.gallery import Gallery
from kdistill.errors import KdistillError
from kdistill.files.whole import whole_file

_CHUNK = 65536


def to_faiss(gallery: Gallery) -> Any:
    """Returns a faiss.IndexFlatIP with the gallery's rows; its row numbers are places in `gallery.ids`.

    Raises:
        KdistillError: faiss is not installed.
    """
    faiss = _needed("faiss", "faiss-cpu")
    index = faiss.IndexFlatIP(gallery.values.shape[1])
    for start in range(0, len(gallery.ids), _CHUNK):
        index.add(gallery.rows(start, start + _CHUNK))
    return index


def write_index(index: Any, path: Path | str) -> None:
    """Writes an index made by `to_faiss` or `to_usearch` in its library's own format, whole or not at all."""
    with whole_file(path) as temporary:
        if hasattr(index, "save"):
            index.save(str(temporary))
        else:
            _needed("faiss", "faiss-cpu").write_index(index, str(temporary))


def to_usearch(gallery: Gallery) -> Any:
    """Returns a usearch.index.Index (inner product, float32); its keys are places in `gallery.ids`.

    Raises:
        KdistillError: usearch is not installed.
    """
    usearch = _needed("usearch.index", "usearch")
    index = usearch.Index(ndim=gallery.values.shape[1], metric="ip", dtype="f32")
    for start in range(0, len(gallery.ids), _CHUNK):
        rows = gallery.rows(start, start + _CHUNK)
        index.add(np.arange(start, start + len(rows), dtype=np.uint64), rows)
    return index


def to_parquet(gallery: Gallery, path: Path | str) -> None:
    """Writes a table with the columns `id` (text) and `embedding` (list of D float32), in pieces.

    Raises:
        KdistillError: pyarrow is not installed, or the disk is full.
    """
    arrow, parquet = _needed("pyarrow", "pyarrow"), _needed("pyarrow.parquet", "pyarrow")
    dimension = gallery.values.shape[1]
    schema = arrow.schema([("id", arrow.string()), ("embedding", arrow.list_(arrow.float32(), dimension))])
    with whole_file(path) as temporary, parquet.ParquetWriter(temporary, schema) as writer:
        for start in range(0, len(gallery.ids), _CHUNK):
            rows = gallery.rows(start, start + _CHUNK)
            vectors = arrow.FixedSizeListArray.from_arrays(arrow.array(rows.reshape(-1)), dimension)
            ids = arrow.array(gallery.ids[start : start + _CHUNK], arrow.string())
            writer.write_table(arrow.Table.from_arrays([ids, vectors], schema=schema))


def _needed(module: str, package: str) -> Any:
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise KdistillError(f"{package} is not installed: pip install {package}") from error
