"""Changes the gallery of a retriever file (TFLite or ONNX): the student is copied, rows that stay keep their codes."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from export.formats.flatbuffer import drop_unused_buffers, read_metadata, read_model, signatures
from export.retriever.build import write_retriever
from export.retriever.gallery import CODES, Gallery
from export.retriever.sidecar import RETRIEVER_KEY, Sidecar, read_sidecar
from export.search.first_pass import FirstPass
from export.search.hamming import runs
from export.search.hamming_tflite import stored_codes
from export.search.lists import lists_of
from kdistill.errors import ArgumentError, KdistillError


def update_retriever(
    source: Path | str,
    target: Path | str,
    *,
    remove: Collection[str] = (),
    embeddings: np.ndarray | None = None,
    ids: Sequence[str] = (),
) -> None:
    """Writes a retriever with some rows removed and others added; rows that stay keep their codes, bit for bit.

    Args:
        source: a retriever with its sidecar.
        target: where to write; may be `source`, and ends as it does.
        remove: ids to take out; they may come back in `ids` with new embeddings.
        embeddings: float [n, D], rows of norm 1 to append; None for none.
        ids: their n names.

    Raises:
        ArgumentError: nothing to change, a target of another format, or fewer rows would be left than the file's k.
        KdistillError: a damaged or foreign file; an id that is not there, or is there already; bad embeddings.
    """
    if not remove and embeddings is None:
        raise ArgumentError("there is nothing to remove and nothing to add")
    if Path(target).suffix != Path(source).suffix:
        raise ArgumentError(f"{target} would hold the format of {source}; give it the same suffix")
    model, gallery, sidecar = read_retriever(source)
    if remove:
        gallery = gallery.without_rows(remove)
    if embeddings is not None:
        gallery = gallery.with_rows(embeddings, ids)
    if Path(target).suffix == ".onnx":
        from export.retriever.onnx_retriever import write_onnx_retriever  # onnx, needed for these files only

        write_onnx_retriever(model, gallery, target, k=sidecar.k)
    else:
        write_retriever(model, gallery, target, k=sidecar.k)


def read_retriever(path: Path | str) -> tuple[Any, Gallery, Sidecar]:
    """Returns the student alone, gallery and sidecar.

    The student of a .tflite file is a `ModelT`, without subgraphs where the file has no student; of an .onnx file a
    `ModelProto` or None.

    Raises:
        KdistillError: a damaged or foreign file, or a sidecar that belongs to another file.
    """
    sidecar = read_sidecar(path)
    sidecar.check_file(path)
    if Path(path).suffix == ".onnx":
        from export.retriever.onnx_retriever import take_apart

        return *take_apart(path, sidecar), sidecar
    model = read_model(path)
    if read_metadata(model, RETRIEVER_KEY) is None:
        raise KdistillError(f"{path} is not a retriever written by this program")
    gallery = _gallery(model, sidecar)
    embed = signatures(model).get("embed")
    model.subgraphs = model.subgraphs[:1] if embed else []
    model.signatureDefs = [embed] if embed else []
    if embed:
        embed.signatureKey = "serving_default"
    model.metadata = [entry for entry in model.metadata if entry.name not in (RETRIEVER_KEY, RETRIEVER_KEY.encode())]
    drop_unused_buffers(model)
    return model, gallery, sidecar


def _gallery(model: Any, sidecar: Sidecar) -> Gallery:
    shape = (len(sidecar.ids), sidecar.dimension)

    def stored(name: str, dtype: str, count: int | None) -> np.ndarray:
        octets = np.asarray(model.buffers[sidecar.buffers[name]].data, np.uint8)
        return octets.view(dtype)[:count]

    if sidecar.precision in CODES:
        sizes = runs(shape[0], sidecar.k)
        main = stored("codes", "uint8", sizes.main * shape[1]) if sizes.main else np.empty(0, np.uint8)
        tail = stored("tail", "uint8", sizes.tail * shape[1]) if sizes.tail else np.empty(0, np.uint8)
        codes = stored_codes(main, tail, *shape, sidecar.k)
        return Gallery(codes, None, None, None, sidecar.ids, sidecar.precision == "asymmetric")
    scanned = sidecar.scanned or shape[1]
    if sidecar.precision != "int8":
        values = stored("gallery", sidecar.precision, shape[0] * scanned).reshape(shape[0], scanned)
        return Gallery(values, None, None, None, sidecar.ids)
    lists = None
    if sidecar.probes is None:
        values = stored("gallery", "int8", shape[0] * scanned).reshape(shape[0], scanned)
        scale = stored("scale", "float32", shape[0])
    else:
        rows, centres = stored("rows", "int32", None), stored("centres", "float32", None).reshape(-1, shape[1])
        lists, slots = lists_of(centres, rows, sidecar.probes)
        values = stored("gallery", "int8", len(rows) * scanned).reshape(-1, scanned)[slots]
        scale = stored("scale", "float32", len(rows))[slots]
    residual = stored("residual", "int8", shape[0] * shape[1]).reshape(shape)
    first_pass = None
    if sidecar.scanned is not None:
        others = shape[1] - scanned
        values = np.hstack([values, stored("unscanned", "int8", shape[0] * others).reshape(shape[0], others)])
        first_pass = FirstPass(stored("rotation", "float32", shape[1] ** 2).reshape(shape[1], shape[1]).T, scanned)
    centre = stored("centre", "float32", shape[1])
    return Gallery(
        values,
        scale,
        residual,
        centre,
        sidecar.ids,
        first_pass=first_pass,
        measured=sidecar.measured,
        lists=lists,
    )
