"""From what the user names to a teacher that can be asked."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kdistill.errors import ArgumentError, KdistillError
from kdistill.teachers.providers.function import FunctionTeacher, import_function
from kdistill.teachers.providers.http_service import HttpTeacher
from kdistill.teachers.providers.preprocessing import check_scaling
from kdistill.teachers.providers.table import TableTeacher
from kdistill.teachers.teacher import Teacher


def open_teacher(
    spec: Any,
    *,
    scaling: str = "none",
    headers: Sequence[str] = (),
    timeout: float = 60.0,
    retries: int = 5,
) -> Teacher:
    """Opens a teacher.

    Args:
        spec: the path of a table (`.npz`, `.npy`, `.parquet`) or model (`.keras`, `.tflite`, `.onnx`, a SavedModel
            folder), an http(s) address, "package.module:function", a Keras model, a function of a sequence of
            Image, or an object that is a teacher already.
        scaling: of the pixels that a model is shown, a key of preprocessing.SCALINGS; others ignore it.
        headers: "Header=VARIABLE": HTTP headers whose values stand in environment variables.
        timeout: seconds that an HTTP teacher may take for one batch.
        retries: times that an HTTP teacher is asked again after 429 or 5xx.

    Raises:
        ArgumentError: nothing of the kind, or an unknown scaling.
        KdistillError: missing or damaged.
    """
    check_scaling(scaling)
    if isinstance(spec, Path):
        spec = str(spec)
    if isinstance(spec, str):
        if spec.startswith(("http://", "https://")):
            return HttpTeacher(spec, headers=headers, timeout=timeout, retries=retries)
        return _open_path(spec, scaling)
    if _is_keras_model(spec):
        from kdistill.teachers.providers.keras_model import KerasTeacher

        return KerasTeacher(spec, scaling=scaling)
    if isinstance(spec, Teacher):
        return spec
    if callable(spec):
        return FunctionTeacher(spec)
    raise ArgumentError(f"{type(spec).__name__} cannot serve as a teacher: it is no path, address, model or function")


def _open_path(spec: str, scaling: str) -> Teacher:
    path = Path(spec)
    if not path.exists():
        module, colon, function = spec.partition(":")
        if colon and all(part.isidentifier() for part in [*module.split("."), *function.split(".")]):
            return import_function(spec)
        raise KdistillError(f"there is no teacher at {spec}")
    if path.is_dir():
        if not (path / "saved_model.pb").exists():
            raise KdistillError(f"the teacher {spec} is a folder without saved_model.pb, so not a SavedModel")
        from kdistill.teachers.providers.keras_model import SavedModelTeacher

        return SavedModelTeacher(path, scaling=scaling)
    if path.suffix in (".npz", ".npy", ".parquet"):
        return TableTeacher(path)
    if path.suffix == ".keras":
        from kdistill.teachers.providers.keras_model import load_keras

        return load_keras(path, scaling=scaling)
    if path.suffix == ".tflite":
        from kdistill.teachers.providers.tflite_model import TFLiteTeacher

        return TFLiteTeacher(path, scaling=scaling)
    if path.suffix == ".onnx":
        from kdistill.teachers.providers.onnx_model import OnnxTeacher

        return OnnxTeacher(path, scaling=scaling)
    raise ArgumentError(
        f"the teacher {spec} is of no known kind; known: .npz, .npy, .parquet, .keras, .tflite, .onnx, "
        "a SavedModel folder, an http(s) address, package.module:function"
    )


def _is_keras_model(spec: Any) -> bool:
    # By name, so that asking a table or a service does not import TensorFlow.
    return any(kind.__name__ == "Model" and "keras" in kind.__module__ for kind in type(spec).__mro__)
