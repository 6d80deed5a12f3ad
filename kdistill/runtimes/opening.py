"""From the path of a model's file to the runtime that opens it."""

from pathlib import Path

from kdistill.errors import ArgumentError, KdistillError
from kdistill.runtimes.image_model import ImageModel

SUFFIXES = (".keras", ".onnx", ".tflite")


def open_image_model(path: Path | str, model: str, *, num_threads: int = 1, callers: int | None = None) -> ImageModel:
    """Opens a `.keras`, `.onnx` or `.tflite` file, or a SavedModel folder, from one image to one vector.

    Args:
        path: the file or folder.
        model: its name in errors, such as "the teacher PATH".
        num_threads: that one call uses; TensorFlow has its own setting (see `start_tensorflow`).
        callers: calls at a time; None for as many as fill the cores. Files of LARGE_FILE_BYTES run one call on all.

    Raises:
        ArgumentError: another kind of file.
        KdistillError: missing, damaged, or not of this form.
    """
    path = Path(path)
    if path.is_dir():
        if not (path / "saved_model.pb").exists():
            raise KdistillError(f"{model} is a folder without saved_model.pb, so not a SavedModel")
        from kdistill.runtimes.keras_model import open_saved_model

        return open_saved_model(path, model)
    if path.suffix not in SUFFIXES:
        raise ArgumentError(f"{model} is none of {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise KdistillError(f"{model} does not exist")
    # Each runtime is imported for its own files only: TensorFlow alone takes seconds.
    if path.suffix == ".keras":
        from kdistill.runtimes.keras_model import open_keras_file

        return open_keras_file(path, model)
    if path.suffix == ".onnx":
        from kdistill.runtimes.onnx import open_onnx_model

        return open_onnx_model(path, model, num_threads=num_threads, callers=callers)
    from kdistill.runtimes.tflite import open_tflite_model

    return open_tflite_model(path, model, num_threads=num_threads, callers=callers)
