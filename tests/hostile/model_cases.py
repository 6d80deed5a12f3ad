"""Hostile models: Keras, weights, ONNX, TFLite, SavedModels."""

import io
import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import keras
import numpy as np
import onnx
import onnx.helper
from hostile_case import MARKER, Cases, sparse

from kdistill import students
from kdistill.data import Image
from kdistill.runtimes.embedders import open_embedder
from kdistill.settings import Settings
from kdistill.stages.judging.evaluate import load_student
from kdistill.stages.workdir import Workdir
from kdistill.teachers import open_teacher

CASES = Cases()


# Keras


def saved(folder: Path, *layers: keras.layers.Layer) -> Path:
    path = folder / "model.keras"
    keras.Sequential([keras.Input((8, 8, 3)), *layers, keras.layers.GlobalAveragePooling2D()]).save(path)
    return path


def repacked(path: Path, **entries: bytes) -> Path:
    """Replaces entries of a zip archive; the names stand with __ for the dot."""
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    content |= {name.replace("__", "."): value for name, value in entries.items()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, value in content.items():
            archive.writestr(name, value)
    return path


def with_layer(folder: Path, module: str, class_name: str) -> Path:
    path = saved(folder, keras.layers.ReLU(name="changed"))
    with zipfile.ZipFile(path) as archive:
        config = json.loads(archive.read("config.json"))
    for layer in config["config"]["layers"]:
        if layer["config"].get("name") == "changed":
            layer.update(module=module, class_name=class_name, registered_name=None)
    return repacked(path, config__json=json.dumps(config).encode())


def h5(build: Callable[[h5py.File], object]) -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        build(file)
    return buffer.getvalue()


def bomb(file: h5py.File) -> None:
    file.create_dataset("layers/x", shape=(1 << 30,), chunks=(1 << 16,), compression="gzip", dtype="f4")


def external(file: h5py.File) -> None:
    file.create_dataset("layers/x", shape=(10,), dtype="f4", external=[("/etc/passwd", 0, 40)])


def circle(file: h5py.File) -> None:
    file["layers"] = h5py.SoftLink("/layers/again")


def lambda_layer(folder: Path) -> Path:
    target = str(folder / MARKER)
    code = f"lambda x, target={target!r}: (__import__('os').mkdir(target), x)[1]"
    path = saved(folder, keras.layers.Lambda(eval(code)))
    (folder / MARKER).rmdir()  # building the model ran it
    return path


def large_configuration(folder: Path) -> Path:
    path = saved(folder)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("config.json", "w") as entry:
        for _ in range(300):
            entry.write(b" " * (1 << 20))
    return path


KERAS: dict[str, Callable[[Path], Path]] = {
    "keras: lambda": lambda_layer,
    "keras: class of the operating system": lambda folder: with_layer(folder, "os", "system"),
    "keras: class of a module beside it": lambda folder: with_layer(folder, "antigravity", "Layer"),
    "keras: builtin": lambda folder: with_layer(folder, "builtins", "eval"),
    "keras: function of keras": lambda folder: with_layer(folder, "keras.utils", "get_file"),
    "keras: configuration of 300 MiB": large_configuration,
    "keras: configuration nested 10^5 times": lambda folder: repacked(saved(folder), config__json=b"[" * 100_000),
    "keras: configuration that is none": lambda folder: repacked(saved(folder), config__json=b"null"),
    "keras: weights of 4 GiB in a kilobyte": lambda folder: repacked(saved(folder), model__weights__h5=h5(bomb)),
    "keras: weights in another file": lambda folder: repacked(saved(folder), model__weights__h5=h5(external)),
    "keras: weights behind a link": lambda folder: repacked(saved(folder), model__weights__h5=h5(circle)),
    "keras: weights that are none": lambda folder: repacked(saved(folder), model__weights__h5=b"\x89HDF\r\n\x1a\n"),
    "keras: no archive": lambda folder: folder / "no.keras",
}


@CASES.each({f"{name}, as teacher": build for name, build in KERAS.items()})
def use_as_teacher(folder: Path, build: Callable[[Path], Path]) -> None:
    (folder / "no.keras").write_bytes(b"no archive")
    open_teacher(build(folder), scaling="none").embed([Image("a", array=np.zeros((8, 8, 3), np.uint8))])


@CASES.case("keras: lambda, as student")
def _(folder: Path) -> None:
    lambda_layer(folder).rename(folder / "student.keras")
    load_student(Workdir(folder), Settings())


@CASES.case("keras: class of the operating system, to embed with")
def _(folder: Path) -> None:
    open_embedder(with_layer(folder, "os", "system"))


@CASES.case("keras: old format with code")
def _(folder: Path) -> None:
    lambda_layer(folder).rename(folder / "model.h5")
    open_teacher(folder / "model.h5", scaling="none")


@CASES.each(
    {
        "weights: 4 GiB in a kilobyte": h5(bomb),
        "weights: in another file": h5(external),
        "weights: behind a link": h5(circle),
        "weights: of nothing": h5(lambda file: None),
        "weights: no weights": b"no weights",
    }
)
def use_weights(folder: Path, content: bytes) -> None:
    (folder / "x.weights.h5").write_bytes(content)
    students.build("mobilenet_v1", alpha=0.25, image_size=32, weights=str(folder / "x.weights.h5"))


# ONNX, TFLite, SavedModel


def onnx_model(folder: Path, location: str, shape: tuple[int, ...]) -> Path:
    tensor = onnx.TensorProto(name="w", data_type=onnx.TensorProto.FLOAT, dims=shape)
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    tensor.external_data.add(key="length", value=str(4 * int(np.prod(shape))))
    return write_onnx(folder, tensor)


def write_onnx(folder: Path, tensor: onnx.TensorProto) -> Path:
    info = onnx.helper.make_tensor_value_info
    image = info("image", onnx.TensorProto.FLOAT, ["batch", 2, 2, 3])
    output = info("embedding", onnx.TensorProto.FLOAT, ["batch", None, None, None])
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Add", ["image", "w"], ["embedding"])], "g", [image], [output], [tensor]
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    return folder / "model.onnx"


def raw_tensor(dims: tuple[int, ...]) -> onnx.TensorProto:
    return onnx.TensorProto(name="w", data_type=onnx.TensorProto.FLOAT, dims=dims, raw_data=b"\0" * 12)


def tflite(folder: Path, content: bytes) -> Path:
    (folder / "model.tflite").write_bytes(content)
    return folder / "model.tflite"


def saved_model(folder: Path, content: bytes | None) -> Path:
    (folder / "saved").mkdir()
    if content is not None:
        (folder / "saved" / "saved_model.pb").write_bytes(content)
    return folder / "saved"


def onnx_bytes(folder: Path, content: bytes) -> Path:
    (folder / "model.onnx").write_bytes(content)
    return folder / "model.onnx"


FILES: dict[str, Callable[[Path], Path]] = {
    "onnx: weights in /etc/passwd": lambda folder: onnx_model(folder, "/etc/passwd", (3,)),
    "onnx: weights above its folder": lambda folder: onnx_model(folder, "../../../etc/passwd", (3,)),
    "onnx: weights in a file that is not there": lambda folder: onnx_model(folder, "absent.bin", (3,)),
    "onnx: 2^62 weights": lambda folder: write_onnx(folder, raw_tensor((2**31, 2**31))),
    "onnx: negative size": lambda folder: write_onnx(folder, raw_tensor((-3,))),
    "onnx: noise": lambda folder: onnx_bytes(folder, np.random.default_rng(0).bytes(5000)),
    "onnx: empty": lambda folder: onnx_bytes(folder, b""),
    "tflite: noise": lambda folder: tflite(folder, np.random.default_rng(0).bytes(5000)),
    "tflite: empty": lambda folder: tflite(folder, b""),
    "tflite: root far outside": lambda folder: tflite(folder, struct.pack("<I", 0xFFFFFFF0) + b"TFL3" + bytes(2000)),
    "tflite: root in itself": lambda folder: tflite(folder, struct.pack("<I", 0) + b"TFL3" + bytes(2000)),
    "tflite: offsets far outside": lambda folder: tflite(
        folder, struct.pack("<I", 16) + b"TFL3" + bytes(8) + struct.pack("<iHHI", -8, 4, 8, 0x7FFFFFFF) + b"\x7f" * 2000
    ),
    "savedmodel: folder without a model": lambda folder: saved_model(folder, None),
    "savedmodel: noise": lambda folder: saved_model(folder, np.random.default_rng(0).bytes(500)),
    "savedmodel: empty": lambda folder: saved_model(folder, b""),
    "teacher: nothing of the kind": lambda folder: sparse(folder / "model.bin", 10),
    "teacher: python file": lambda folder: sparse(folder / "model.py", 10),
}


@CASES.each(FILES)
def use_file(folder: Path, build: Callable[[Path], Path]) -> None:
    open_teacher(build(folder), scaling="none").embed([Image("a", array=np.zeros((2, 2, 3), np.uint8))])
