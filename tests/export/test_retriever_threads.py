"""One retriever in many threads gives every thread its own answers."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from export.retriever.build import build_retriever
from export.retriever.client import Retriever
from kdistill.runtimes import tflite

THREADS, SEARCHES = 8, 1000


@pytest.fixture(scope="module")
def files(student, embeddings, tmp_path_factory):
    folder = tmp_path_factory.mktemp("threads")
    ids = [str(row) for row in range(len(embeddings))]
    for suffix in ("tflite", "onnx"):
        build_retriever(student, embeddings, ids, folder / f"r.{suffix}", k=3)
    return folder


@pytest.mark.parametrize(
    ("suffix", "cores", "large", "interpreters"),
    [("tflite", 8, 1 << 30, 8), ("tflite", 3, 1 << 30, 3), ("tflite", 8, 1, 1), ("onnx", 8, 1 << 30, None)],
)
def test_every_answer_is_that_of_one_thread(files, embeddings, pixels, monkeypatch, suffix, cores, large, interpreters):
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    monkeypatch.setattr(tflite, "LARGE_FILE_BYTES", large)
    retriever = Retriever(files / f"r.{suffix}", num_threads=1)
    if interpreters:
        assert retriever._engine._pool.most == interpreters
    random = np.random.default_rng(0)
    stacks = [embeddings[random.integers(0, len(embeddings), size)] for size in (1, 2, 5, 33)]
    calls = [lambda image=image: [m.row for m in retriever.search(image)] for image in pixels[:12]]
    calls += [lambda image=image: retriever.embed(image).tobytes() for image in pixels[:12]]
    calls += [lambda row=row: [m.row for m in retriever.search_embedding(row)] for row in embeddings[:12]]
    calls += [lambda stack=stack: retriever.search_embeddings(stack)[1].tobytes() for stack in stacks]
    expected = [call() for call in calls]
    assert len({str(answer) for answer in expected}) > 20  # answers that are all alike would show nothing
    barrier = threading.Barrier(THREADS)

    def search(seed: int) -> int:
        order = np.random.default_rng(seed).integers(0, len(calls), SEARCHES)
        barrier.wait()
        return sum(calls[number]() != expected[number] for number in order)

    with ThreadPoolExecutor(THREADS) as pool:
        assert list(pool.map(search, range(THREADS))) == [0] * THREADS


def test_a_file_that_is_replaced_does_not_change_an_open_retriever(files, student, embeddings, tmp_path, monkeypatch):
    """Interpreters made later run the file that was opened, whose names the retriever holds."""
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    path = tmp_path / "r.tflite"
    ids = [str(row) for row in range(len(embeddings))]
    build_retriever(student, embeddings, ids, path, k=3)
    retriever = Retriever(path, num_threads=1)
    expected = [match.row for match in retriever.search_embedding(embeddings[3])]
    build_retriever(student, embeddings[::-1].copy(), ids, path, k=3)
    with retriever._engine._pool.borrow():  # the first interpreter is taken: the next call makes another
        assert [match.row for match in retriever.search_embedding(embeddings[3])] == expected
