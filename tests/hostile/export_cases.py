"""Hostile students, numbers and surroundings for what is exported."""

import os
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import keras
import numpy as np
from hostile_case import Cases

from export.__main__ import main
from export.formats.onnx import export_onnx
from export.formats.tflite import export_tflite
from export.retriever.build import build_retriever, build_search
from export.retriever.shards import build_files
from kdistill import students
from kdistill.console.keras_settings import check_keras_settings

CASES = Cases()
ROWS = np.eye(16, dtype=np.float32)
IDS = [f"row {row}" for row in range(16)]


def net(*shape: int | None, dtype: str = "uint8") -> keras.Model:
    image = keras.Input(shape, dtype=dtype, name="image")
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(image))
    return keras.Model(image, keras.layers.UnitNormalization()(pooled), name="net")


class Own(keras.Model):
    """A model of the user's own class, which has no graph to rebuild."""

    def call(self, image):
        return image


STUDENTS: dict[str, Callable[[], keras.Model]] = {
    "export: rectangle": lambda: net(128, 64, 3),
    "export: open side": lambda: net(None, 64, 3),
    "export: four channels": lambda: net(32, 32, 4),
    "export: float pixels": lambda: net(32, 32, 3, dtype="float32"),
    "export: a class of its own": Own,
    "export: no vector": lambda: keras.Sequential([keras.Input((8, 8, 3), dtype="uint8"), keras.layers.Rescaling(1.0)]),
}


@CASES.each({f"{name}, to TFLite": create for name, create in STUDENTS.items()})
def to_tflite(folder: Path, create: Callable[[], keras.Model]) -> None:
    export_tflite(create(), folder / "s.tflite")


@CASES.each({f"{name}, to ONNX": create for name, create in STUDENTS.items()})
def to_onnx(folder: Path, create: Callable[[], keras.Model]) -> None:
    export_onnx(create(), folder / "s.onnx")


@CASES.each({f"{name}, as a retriever": create for name, create in STUDENTS.items()})
def to_retriever(folder: Path, create: Callable[[], keras.Model]) -> None:
    build_retriever(create(), ROWS, IDS, folder / "r.tflite")


@CASES.each({f"retriever: k={k}": k for k in (0, -1, 17, 2**40)})
def with_k(folder: Path, k: int) -> None:
    build_search(ROWS, IDS, folder / "r.tflite", k=k)


@CASES.each({f"retriever: {shards!r} shards": shards for shards in (0, -2, 9, 2**40, "many", 1.5)})
def with_shards(folder: Path, shards: object) -> None:
    build_files(net(8, 8, 3), ROWS, IDS, folder / "r.tflite", k=2, shards=shards)  # type: ignore[arg-type]


@CASES.each(
    {
        f"verify: {flag}": flag.split()
        for flag in (
            "--max_map_drop int8=nan",
            "--max_map_drop int8=-1",
            "--max_map_drop float32=inf",
            "--max_map_drop int3=1",
            "--min_cosine nan",
            "--min_cosine 1.5",
            "--min_cosine=-inf",
        )
    }
)
def with_limits(folder: Path, flags: list[str]) -> object:
    return main(["verify", f"--run={folder}", *flags])


@CASES.each({f"{command}: folder without a run": command for command in ("verify", "retriever", "web", "convert")})
def without_run(folder: Path, command: str) -> object:
    further = {"web": [f"--out={folder / 'site'}"], "convert": ["--precision=int8"]}
    return main([command, f"--run={folder}", *further.get(command, [])])


@CASES.case("retriever: --out of another format")
def _(folder: Path) -> object:
    students.build("small_cnn", image_size=16).save(folder / "student.keras")
    return main(["retriever", f"--run={folder}", f"--out={folder / 'r.onnx'}"])


@CASES.case("retriever: gallery that is no archive")
def _(folder: Path) -> object:
    students.build("small_cnn", image_size=16).save(folder / "student.keras")
    (folder / "gallery.npz").write_bytes(b"none")
    return main(["retriever", f"--run={folder}"])


@CASES.case("handover: codes to Milvus Lite")
def _(folder: Path) -> object:
    build_search(ROWS, IDS, folder / "r.onnx", k=2, precision="binary")
    return main(["handover", f"--retriever={folder / 'r.onnx'}", "--to=milvus", f"--out={folder / 'g.db'}"])


@CASES.case("handover: a shard is missing")
def _(folder: Path) -> object:
    for number in (0, 2):
        build_search(ROWS, IDS, folder / f"r-{number}.tflite", k=2)
    return main(["handover", f"--retriever={folder / 'r.tflite'}", "--to=faiss", f"--out={folder / 'g'}"])


@CASES.case("handover: one id in two shards")
def _(folder: Path) -> object:
    for number in (0, 1):
        build_search(ROWS, IDS, folder / f"r-{number}.tflite", k=2)
    return main(["handover", f"--retriever={folder / 'r.tflite'}", "--to=faiss", f"--out={folder / 'g'}"])


@CASES.each({f"remove: {what}": path for what, path in {"from shards": "r.tflite", "from nothing": "x.tflite"}.items()})
def remove_rows(folder: Path, name: str) -> object:
    for number in (0, 1):
        build_search(ROWS, IDS, folder / f"r-{number}.tflite", k=2)
    return main(["remove", f"--retriever={folder / name}", "--ids", "row 1"])


@CASES.each({f"keras: backend {name} in the variable": name for name in ("jax", "torch", "nonsense")})
def with_backend(folder: Path, name: str) -> None:
    with mock.patch.dict(os.environ, KERAS_BACKEND=name):
        check_keras_settings()


@CASES.each(
    {
        "keras: float16 in keras.json": '{"floatx": "float16"}',
        "keras: float64 in keras.json": '{"floatx": "float64", "backend": "tensorflow"}',
        "keras: channels first in keras.json": '{"image_data_format": "channels_first"}',
        "keras: another backend in keras.json": '{"backend": "jax"}',
        "keras: a number in keras.json": '{"floatx": 16}',
    }
)
def with_keras_file(folder: Path, content: str) -> None:
    (folder / "keras.json").write_text(content)
    with mock.patch.dict(os.environ, KERAS_HOME=str(folder)):
        os.environ.pop("KERAS_BACKEND", None)
        check_keras_settings()
