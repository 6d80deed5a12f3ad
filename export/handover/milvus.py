"""A gallery in Milvus: for search past one device, on a cluster or in the file of the embedded Milvus Lite.

The same calls serve both. Rows keep their numbers and names, so an answer reads as one of the retriever's does.
"""

import contextlib
import logging
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from export.handover.files import portable_id
from export.retriever.gallery import Gallery
from kdistill.console.optional import optional
from kdistill.errors import ArgumentError, KdistillError
from kdistill.hashing.codes import pack_codes

TOKEN = "MILVUS_TOKEN"
"""Environment variable with `user:password` or an API key; a secret stands in no flag, message or log."""
INDEXES = ("FLAT", "AUTOINDEX")
"""FLAT compares every row; AUTOINDEX leaves the choice to Milvus and is approximate on a cluster."""
_UNFINISHED = "_unfinished"
_MAX_ID_BYTES = 65_535
_MESSAGE_BYTES = 16 * 2**20  # a server takes messages of up to 64 MiB
_CHECKED = 100
_QUERIES = 256  # in one request


@contextlib.contextmanager
def open_milvus(address: str) -> Iterator[Any]:
    """Yields a pymilvus.MilvusClient, closed at the end; errors of the block come out in plain words.

    Args:
        address: http(s)://HOST:PORT of a cluster, whose token is read from the variable MILVUS_TOKEN; or the path of a
            Milvus Lite folder, NAME.db, made where it is missing.

    Raises:
        ArgumentError: another kind of address, or one that holds a password.
        KdistillError: pymilvus or milvus-lite is not installed, or Milvus refused something.
    """
    remote = "://" in address
    if remote and "@" in address:
        raise ArgumentError(f"the address of Milvus holds a user or a password; set {TOKEN} to user:password instead")
    if not remote and not address.endswith(".db"):
        raise ArgumentError(
            f"{address!r} is neither http://HOST:PORT nor a path that ends in .db, as Milvus takes them"
        )
    pymilvus = optional("pymilvus", "milvus")
    if not remote:
        optional("milvus_lite", "milvus")
    token = os.environ.get(TOKEN, "") if remote else ""
    client = None
    try:
        with _without_logs():
            client = pymilvus.MilvusClient(uri=address, token=token)
            yield client
    except pymilvus.MilvusException as error:
        message = str(error.message)
        for secret in filter(None, (token, token.partition(":")[2])):
            message = message.replace(secret, "***")
        raise KdistillError(f"Milvus at {address}: {message}") from None  # the cause may show the token
    finally:
        if client is not None:
            client.close()


def to_milvus(client: Any, gallery: Gallery, collection: str, *, index: str = "FLAT") -> None:
    """Writes the gallery as a collection with the fields `row` (int64, key), `id` (text) and `embedding` (float32 [D]).

    Scores are inner products, as in the retriever. Codes have the field `code` (a binary vector of K bits) in place of
    `embedding`, searched by Hamming distance. The collection gets its name when all rows are in it; one that an
    interrupted call left behind is written anew.

    Args:
        client: of `open_milvus`.
        gallery: G rows.
        collection: its name; letters, digits and underscores.
        index: one of INDEXES.

    Raises:
        ArgumentError: an unknown index or a bad name.
        KdistillError: the collection exists, an id is longer than Milvus's 65,535 bytes, or not all rows arrived.
    """
    if index not in INDEXES:
        raise ArgumentError(f"index {index!r} is not known; choose one of {', '.join(INDEXES)}")
    if not (collection.isascii() and collection.isidentifier()):
        raise ArgumentError(
            f"{collection!r} is no name of a collection: letters, digits and underscores, no digit first"
        )
    if client.has_collection(collection):
        raise KdistillError(f"the collection {collection!r} exists already; choose another name or drop it")
    long = next((name for name in gallery.ids if len(portable_id(name).encode()) > _MAX_ID_BYTES), None)
    if long is not None:
        raise KdistillError(f"the id {long[:40]!r}... is longer than the {_MAX_ID_BYTES} bytes that Milvus takes")
    unfinished = collection + _UNFINISHED
    if client.has_collection(unfinished):
        client.drop_collection(unfinished)
    _create(client, unfinished, gallery, index)
    for start, stop in _parts(gallery):
        rows = (
            [code.tobytes() for code in gallery.values[start:stop]]
            if gallery.holds_codes
            else gallery.rows(start, stop)
        )
        field = _field(gallery)
        client.insert(
            unfinished,
            [
                {"row": row, "id": portable_id(gallery.ids[row]), field: vector}
                for row, vector in enumerate(rows, start=start)
            ],
        )
    client.flush(unfinished)
    arrived = int(client.get_collection_stats(unfinished)["row_count"])
    if arrived != len(gallery.ids):
        raise KdistillError(f"{arrived} of {len(gallery.ids)} rows arrived in Milvus; try again")
    client.rename_collection(unfinished, collection)
    client.load_collection(collection)


def hand_over(gallery: Gallery, address: str, collection: str, *, index: str = "FLAT") -> float:
    """Writes the gallery to Milvus and returns `milvus_recall` at 10 for up to 100 of its own rows as queries.

    Arguments and errors as in `open_milvus` and `to_milvus`; also KdistillError for codes in Milvus Lite, which has no
    binary vectors.
    """
    if gallery.holds_codes and "://" not in address:
        raise KdistillError(
            f"Milvus Lite ({address}) holds no binary vectors, and this gallery is of codes of {gallery.dimension} "
            "bits; give the address of a cluster, or hand over a retriever of float32"
        )
    chosen = np.unique(np.linspace(0, len(gallery.ids) - 1, _CHECKED).astype(int))
    queries = np.concatenate([gallery.rows(row, row + 1) for row in chosen])
    with open_milvus(address) as client:
        to_milvus(client, gallery, collection, index=index)
        return milvus_recall(client, gallery, collection, queries, min(10, len(gallery.ids)))


def search_milvus(client: Any, collection: str, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns scores float32 [Q, k] and row numbers int32 [Q, k], as `export.retriever.Retriever.search_embeddings`.

    Args:
        client: of `open_milvus`.
        collection: made by `to_milvus`, with at least k rows.
        queries: float [Q, D] of norm 1; for a collection of codes uint8 [Q, K / 8], packed codes.
        k: neighbours in an answer.

    Raises:
        KdistillError: fewer neighbours came back.
    """
    client.load_collection(collection)
    codes = queries.dtype == np.uint8
    scores = np.empty((len(queries), k), np.float32)
    rows = np.empty((len(queries), k), np.int32)
    for start in range(0, len(queries), _QUERIES):
        if codes:
            part: Any = [code.tobytes() for code in queries[start : start + _QUERIES]]
        else:
            part = np.asarray(queries[start : start + _QUERIES], np.float32)
        field = "code" if codes else "embedding"
        answers = client.search(collection, part, anns_field=field, limit=k, consistency_level="Strong")
        for query, hits in enumerate(answers, start=start):
            if len(hits) != k:
                raise KdistillError(f"Milvus gave {len(hits)} neighbours for a query, {k} were asked")
            distances = np.array([hit["distance"] for hit in hits], np.float32)
            # The cosine of codes as -1 and 1, as the retriever gives it.
            scores[query] = 1 - 2 * distances / (8 * queries.shape[1]) if codes else distances
            rows[query] = [hit["row"] for hit in hits]
    return scores, rows


def milvus_recall(client: Any, gallery: Gallery, collection: str, queries: np.ndarray, k: int) -> float:
    """Returns the share of the exact k nearest rows that Milvus finds, 0 to 1; a row that ties with the k-th counts.

    Args: as in `search_milvus`; `gallery` is what the collection was made from.

    Raises:
        KdistillError: the collection's names differ from the gallery's.
    """
    from kdistill.evaluation.neighbours import nearest_neighbours  # imports TensorFlow, which commands do without

    queries = np.asarray(queries, np.float32)
    if gallery.holds_codes:
        codes = pack_codes(queries)
        queries = np.where(queries >= 0, 1, -1) / np.float32(gallery.dimension**0.5)
    exact, _ = nearest_neighbours(queries, gallery.rows(), k, similarity="dot")
    _, rows = search_milvus(client, collection, codes if gallery.holds_codes else queries, k)
    _check_names(client, gallery, collection, np.unique(rows))
    vectors = np.stack([gallery.rows(row, row + 1)[0] for row in rows.reshape(-1)]).reshape(*rows.shape, -1)
    found = np.einsum("qd,qkd->qk", queries, vectors)
    return float(np.mean(found >= exact[:, -1:] - 1e-5))


def _check_names(client: Any, gallery: Gallery, collection: str, rows: np.ndarray) -> None:
    for entry in client.get(collection, ids=rows.tolist(), output_fields=["row", "id"]):
        if portable_id(gallery.ids[entry["row"]]) != entry["id"]:
            raise KdistillError(
                f"row {entry['row']} of the collection {collection!r} is {entry['id']!r}, in the gallery it is "
                f"{gallery.ids[entry['row']]!r}: they do not belong together"
            )


def _field(gallery: Gallery) -> str:
    return "code" if gallery.holds_codes else "embedding"


def _create(client: Any, collection: str, gallery: Gallery, index: str) -> None:
    from pymilvus import DataType

    schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field("row", DataType.INT64, is_primary=True)
    schema.add_field("id", DataType.VARCHAR, max_length=_MAX_ID_BYTES)
    codes = gallery.holds_codes
    kind = DataType.BINARY_VECTOR if codes else DataType.FLOAT_VECTOR
    schema.add_field(_field(gallery), kind, dim=gallery.dimension)
    indexes = client.prepare_index_params()
    own = "BIN_FLAT" if codes and index == "FLAT" else index
    indexes.add_index(_field(gallery), index_type=own, metric_type="HAMMING" if codes else "IP")
    client.create_collection(collection, schema=schema, index_params=indexes)


def _parts(gallery: Gallery) -> Iterator[tuple[int, int]]:
    """Yields the edges of parts that fit into one message, names included."""
    start, octets = 0, 0
    for row, name in enumerate(gallery.ids):
        own = gallery.values.shape[1] * (1 if gallery.holds_codes else 4) + len(portable_id(name).encode()) + 16
        if octets and octets + own > _MESSAGE_BYTES:
            yield start, row
            start, octets = row, 0
        octets += own
    yield start, len(gallery.ids)


@contextlib.contextmanager
def _without_logs() -> Iterator[None]:
    """Silences the client's own log: it prints requests and tracebacks, and our errors say what went wrong."""
    loggers = [logging.getLogger(name) for name in ("pymilvus", "milvus_lite")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL + 1)
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
