"""From the path of a model's file to the runtime that opens it."""

from pathlib import Path

from kdistill.errors import ArgumentError, KdistillError
from kdistill.runtimes.folders import SUFFIXES, model_in
from kdistill.runtimes.image_model import Choice, ImageModel


def open_image_model(
    path: Path | str,
    model: str,
    *,
    num_threads: int = 1,
    callers: int | None = None,
    choice: Choice = Choice(),  # noqa: B008 (frozen)
) -> ImageModel:
    """Opens a `.keras`, `.onnx` or `.tflite` file, a SavedModel folder, or the model in a downloaded folder.

    Args:
        path: the file or folder (see `folders.model_in`).
        model: its name in errors, such as "the teacher PATH".
        num_threads: that one call uses; TensorFlow has its own setting (see `start_tensorflow`).
        callers: calls at a time; None for as many as fill the cores. Files of LARGE_FILE_BYTES run one call on all.
        choice: among its outputs, and what the file leaves open.

    Raises:
        ArgumentError: another kind of file, or a choice that it does not offer.
        KdistillError: missing, damaged, or not of this form.
    """
    path = model_in(path, model)
    if path.is_dir():
        from kdistill.runtimes.keras_models.keras_model import open_saved_model

        return open_saved_model(path, model, choice)
    if path.suffix not in SUFFIXES:
        raise ArgumentError(f"{model} is none of {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise KdistillError(f"{model} does not exist")
    # Each runtime is imported for its own files only: TensorFlow alone takes seconds.
    if path.suffix == ".keras":
        from kdistill.runtimes.keras_models.keras_model import open_keras_file

        return open_keras_file(path, model, choice)
    if path.suffix == ".onnx":
        from kdistill.runtimes.onnx import open_onnx_model

        return open_onnx_model(path, model, num_threads=num_threads, callers=callers, choice=choice)
    from kdistill.runtimes.tflite import open_tflite_model

    return open_tflite_model(path, model, num_threads=num_threads, callers=callers, choice=choice)
