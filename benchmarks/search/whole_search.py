"""From resized pixels to neighbours on the device, against the teacher's embedding alone.

    python -m benchmarks.search.whole_search --student=runs/grocery/student.tflite --json=whole.json

The teacher stands for what one would run otherwise: MobileNetV2 1.0 at 224 px, pooled features, TFLite float32 (its
weights are random, which changes no time). Ours is one call of `search` in a retriever with an int8 gallery:
embedding, scores and top 10. The gallery is grown from the run's real embeddings (see `grown_gallery.py`),
since how much of a large gallery a search has to read depends on them. Both take turns, several times; figures are
medians over turns. Decoding a JPEG and resizing it, which either has to do first, are reported beside it. Figures:
`whole_search_speedup` (10k rows), `whole_search_speedup_100k`.
"""

import argparse
import io
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image

from benchmarks.search.grown_gallery import clusters, grow, read_embeddings
from export.retriever.build import build_retriever
from kdistill.console.quiet import quiet
from kdistill.data import decode, resize
from kdistill.errors import run_command
from kdistill.files.whole import write_json
from kdistill.runtimes.opening import open_image_model
from kdistill.runtimes.tflite import open_tflite

SIZES = {"whole_search_speedup": 10_000, "whole_search_speedup_100k": 100_000}
TEACHER_SIZE = 224
PHOTO_SIZE = (640, 480)


def write_teacher(path: Path) -> None:
    """Writes MobileNetV2 1.0 with average pooling as TFLite float32."""
    with quiet():
        from export.formats.tflite import export_tflite
        from kdistill import students

        teacher = students.build("mobilenet_v2", alpha=1.0, image_size=TEACHER_SIZE, embedding_dim=None)
        export_tflite(teacher, path)


def embedder(path: Path, num_threads: int) -> tuple[Callable[[], Any], int, int]:
    """Returns a call that runs a file on one random image, the side of its input, and the D of its output."""
    model = open_image_model(path, str(path), num_threads=num_threads, callers=1)
    side = model.input.side
    image = np.random.default_rng(0).integers(0, 256, (1, side, side, 3), dtype=np.uint8)
    return lambda: model.run(image), side, model.run(image).shape[1]


def searcher(
    student: Path, embeddings: np.ndarray, rows: int, size: int, folder: Path, num_threads: int
) -> Callable[[], Any]:
    """Returns a call of `search` on one random image, in a retriever with that many rows like the embeddings [n, D]."""
    rng = np.random.default_rng(rows)
    gallery = grow(embeddings, rows, rng)
    path = folder / f"retriever_{rows}.tflite"
    build_retriever(student, gallery, [str(row) for row in range(rows)], path, k=10, precision="int8")
    search = open_tflite(path, num_threads=num_threads).get_signature_runner("search")
    image = rng.integers(0, 256, (1, size, size, 3), dtype=np.uint8)
    return lambda: search(image=image)


def base_embeddings(path: Path | None, student: Path, dimension: int) -> np.ndarray:
    """Returns float32 [n, dimension]: the embeddings at `path`, else those beside the student, else random clusters."""
    if path is None:
        path = student.parent / "gallery.npz"
        if not path.exists():
            print(f"there is no {path}: the gallery grows from random clusters")
            return clusters(np.random.default_rng(0), dimension)
    return read_embeddings(path, at_least=100)


def photo() -> bytes:
    """Returns a JPEG of PHOTO_SIZE with some structure in it."""
    noise = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    PIL.Image.fromarray(noise).resize(PHOTO_SIZE, PIL.Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def take_turns(calls: dict[str, Callable[[], Any]], rounds: int, per_turn: int) -> dict[str, float]:
    """Returns the median milliseconds of each call, over turns that alternate."""
    turns: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            call()
            times = []
            for _ in range(per_turn):
                start = time.perf_counter()
                call()
                times.append(1000 * (time.perf_counter() - start))
            turns[name].append(float(np.median(times)))
    return {name: float(np.median(medians)) for name, medians in turns.items()}


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description="A whole search on the device against the teacher's embedding alone.")
    parser.add_argument("--student", type=Path, required=True, help="a .tflite file that passed the quality gate")
    parser.add_argument(
        "--embeddings",
        type=Path,
        help="gallery.npz of a run, or an .npy matrix; default: gallery.npz beside the student",
    )
    parser.add_argument("--num_threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_teacher(folder / "teacher.tflite")
        teacher, _, _ = embedder(folder / "teacher.tflite", arguments.num_threads)
        student, size, dimension = embedder(arguments.student, arguments.num_threads)
        embeddings = base_embeddings(arguments.embeddings, arguments.student, dimension)
        encoded = photo()
        calls: dict[str, Callable[[], Any]] = {"teacher": teacher, "student": student}
        for name, rows in SIZES.items():
            calls[name] = searcher(arguments.student, embeddings, rows, size, folder, arguments.num_threads)
        calls["decode_and_resize"] = lambda: resize(np.asarray(decode(encoded, "photo")), size)
        milliseconds = take_turns(calls, arguments.rounds, per_turn=15)
    figures = {name: milliseconds["teacher"] / milliseconds[name] for name in SIZES}
    for name, value in milliseconds.items():
        print(f"{name:28s} {value:8.3f} ms")
    for name, value in figures.items():
        print(f"{name:28s} {value:8.2f} times")
    if arguments.json:
        settings = {"student": arguments.student.name, "num_threads": arguments.num_threads}
        content = {"figures": figures, "ms": milliseconds, "processors": os.cpu_count(), **settings}
        write_json(arguments.json, content)


if __name__ == "__main__":
    run_command(main)
