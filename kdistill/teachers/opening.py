"""From what the user names to a teacher that can be asked."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kdistill.errors import ArgumentError, KdistillError
from kdistill.runtimes.opening import SUFFIXES
from kdistill.teachers.providers.function import FunctionTeacher, import_function
from kdistill.teachers.providers.preprocessing import check_scaling
from kdistill.teachers.providers.table import TableTeacher
from kdistill.teachers.services.opening import open_service
from kdistill.teachers.teacher import Teacher


def open_teacher(
    spec: Any,
    *,
    scaling: str = "auto",
    output: str | None = None,
    pooling: str = "auto",
    image_size: int | None = None,
    headers: Sequence[str] = (),
    timeout: float = 60.0,
    retries: int = 5,
    api: str = "auto",
    model: str | None = None,
    requests_per_minute: float | None = None,
    trust_packages: Sequence[str] = (),
) -> Teacher:
    """Opens a teacher.

    Args:
        spec: the path of a table (`.npz`, `.npy`, `.parquet`) or model (`.keras`, `.tflite`, `.onnx`, a SavedModel
            folder, a folder as it is downloaded), an http(s) address, "package.module:function", a Keras model, a
            function of a sequence of Image, or an object that is a teacher already.
        scaling: how a model is shown photos: a key of preprocessing.SCALINGS, "clip", the path of a recipe (a JSON
            file as `preprocessor_config.json`), or "auto" for what the configuration beside the model says, else the
            model itself; tables and functions ignore it, and the three below.
        output: name of a model's output that counts; None for the first that is known (see runtimes.outputs).
        pooling: of a model's tokens or maps: "auto", "cls" or "mean" (see runtimes.outputs).
        image_size: side of a model's input where neither its file nor the configuration beside it says.
        headers: "Header=VARIABLE": HTTP headers whose values stand in environment variables.
        timeout: seconds that an HTTP teacher may take for one batch.
        retries: times that an HTTP teacher is asked again after 429, 500, 503, 529 or without a connection.
        api: the form in which an HTTP teacher is asked: a shipped form's name, the path of a JSON file, or "auto" (see
            services.opening). Where the form takes pixels or answers with several outputs, the four above count too.
        model: name of the model that an HTTP teacher is asked for, where the form sends one.
        requests_per_minute: the most requests to an HTTP teacher, evenly apart; None for no limit.
        trust_packages: names of packages, such as keras_hub, whose classes a `.keras` file may be made of; they are
            imported, and build what the file says. Files of Keras's own layers need none.

    Raises:
        ArgumentError: nothing of the kind, a form that does not fit, an unknown scaling, "auto" for a model that does
            not say its own, or a choice that the model does not offer.
        KdistillError: missing or damaged.
    """
    scaling = str(scaling)
    check_scaling(scaling)
    choice: dict[str, Any] = {"scaling": scaling, "output": output, "pooling": pooling, "image_size": image_size}
    if isinstance(spec, Path):
        spec = str(spec)
    if isinstance(spec, str):
        if spec.startswith(("http://", "https://")):
            return open_service(
                spec,
                api=api,
                model=model,
                headers=headers,
                timeout=timeout,
                retries=retries,
                requests_per_minute=requests_per_minute,
                **choice,
            )
        return _open_path(spec, {**choice, "trust_packages": trust_packages})
    if _is_keras_model(spec):
        from kdistill.teachers.providers.model import keras_teacher

        return keras_teacher(spec, **choice)
    if isinstance(spec, Teacher):
        return spec
    if callable(spec):
        return FunctionTeacher(spec)
    raise ArgumentError(f"{type(spec).__name__} cannot serve as a teacher: it is no path, address, model or function")


def _open_path(spec: str, choice: dict[str, Any]) -> Teacher:
    path = Path(spec)
    if not path.exists():
        module, colon, function = spec.partition(":")
        if colon and all(part.isidentifier() for part in [*module.split("."), *function.split(".")]):
            return import_function(spec)
        raise KdistillError(f"there is no teacher at {spec}")
    if path.suffix in (".npz", ".npy", ".parquet") and not path.is_dir():
        return TableTeacher(path)
    if path.is_dir() or path.suffix in SUFFIXES:
        from kdistill.teachers.providers.model import open_model_teacher

        return open_model_teacher(path, **choice)
    raise ArgumentError(
        f"the teacher {spec} is of no known kind; known: .npz, .npy, .parquet, .keras, .tflite, .onnx, "
        "a folder with a model, an http(s) address, package.module:function"
    )


def _is_keras_model(spec: Any) -> bool:
    # By name, so that asking a table or a service does not import TensorFlow.
    return any(kind.__name__ == "Model" and "keras" in kind.__module__ for kind in type(spec).__mro__)
