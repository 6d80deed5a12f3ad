"""The retriever in the race: as a `.tflite` file by the interpreter's own calls, as `.onnx`, and as two shards."""

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.search.peers import Peer, Search, timed
from export.retriever.build import build_search
from export.retriever.client import Retriever
from export.retriever.sidecar import sidecar_path
from kdistill.runtimes.tflite import open_tflite

BATCH = 32
"""Queries that are asked at once, at most."""


def contestants(gallery: np.ndarray, k: int, folder: Path, *, others: bool) -> list[Peer]:
    """Returns our int8 searches of a gallery float32 [G, D], `.tflite` first; with `others` the further forms too."""
    path = folder / "int8.tflite"
    seconds = timed(lambda: _build(gallery, 0, path, k, "int8"))
    forms = [_peer("ours_int8", [path], len(gallery), seconds, functools.partial(_tflite, path, k))]
    if not others:
        return forms
    float32, onnx = folder / "float32.tflite", folder / "int8.onnx"
    seconds = timed(lambda: _build(gallery, 0, float32, k, "float32"))
    forms.append(_peer("ours_float32", [float32], len(gallery), seconds, functools.partial(_tflite, float32, k)))
    seconds = timed(lambda: _build(gallery, 0, onnx, k, "int8"))
    forms.append(_peer("ours_int8_onnx", [onnx], len(gallery), seconds, functools.partial(_client, [onnx], [0])))
    half = len(gallery) // 2
    shards, starts = [folder / "shard-0.tflite", folder / "shard-1.tflite"], [0, half]
    seconds = 0.0
    for file, start, rows in zip(shards, starts, (gallery[:half], gallery[half:]), strict=True):
        seconds += timed(functools.partial(_build, rows, start, file, k, "int8"))
    forms.append(_peer("ours_int8_shards", shards, len(gallery), seconds, functools.partial(_client, shards, starts)))
    return forms


def _build(gallery: np.ndarray, start: int, path: Path, k: int, precision: str) -> None:
    build_search(gallery, [str(start + row) for row in range(len(gallery))], path, k=k, precision=precision)


def _peer(name: str, files: list[Path], rows: int, seconds: float, opened: Callable[[int], Search]) -> Peer:
    """Returns a contestant that is opened anew for each number of threads; names of rows are no bytes of it."""
    peer = Peer(name, opened(1), sum(file.stat().st_size for file in files) / rows, seconds)

    def threads(number: int) -> None:
        peer.search = opened(number)

    peer.threads = threads
    for file in files:
        assert sidecar_path(file).exists()
    return peer


def _tflite(path: Path, k: int, num_threads: int) -> Search:
    interpreter = open_tflite(path, num_threads=num_threads)
    query = interpreter.get_input_details()[0]["index"]
    rows = next(out["index"] for out in interpreter.get_output_details() if out["name"] == "ids")
    held = 1  # queries that the interpreter is sized for

    def search(queries: np.ndarray) -> np.ndarray:
        nonlocal held
        found = np.empty((len(queries), k), np.int32)
        for start in range(0, len(queries), BATCH):
            part = queries[start : start + BATCH]
            if len(part) != held:
                interpreter.resize_tensor_input(query, part.shape)
                interpreter.allocate_tensors()
                held = len(part)
            interpreter.set_tensor(query, part)
            interpreter.invoke()
            found[start : start + BATCH] = interpreter.get_tensor(rows)
        return found

    return search


def _client(files: list[Path], starts: list[int], num_threads: int) -> Search:
    retrievers = [Retriever(file, num_threads=num_threads, check_sha256=False) for file in files]

    def search(queries: np.ndarray) -> np.ndarray:
        answers = [retriever.search_embeddings(queries) for retriever in retrievers]
        scores = np.hstack([scores for scores, _ in answers])
        rows = np.hstack([start + found for start, (_, found) in zip(starts, answers, strict=True)])
        best = np.argsort(-scores, axis=1)[:, : answers[0][0].shape[1]]
        return np.take_along_axis(rows, best, axis=1)

    return search
