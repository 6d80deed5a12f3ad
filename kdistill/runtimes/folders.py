"""From a folder as it was downloaded to the model in it."""

from pathlib import Path

from kdistill.errors import KdistillError

SUFFIXES = (".keras", ".onnx", ".tflite")

_USUAL = ("model.onnx", "vision_model.onnx")
"""Files that are taken where several lie there: the whole model, or the half of it that takes images."""


def model_in(path: Path | str, model: str) -> Path:
    """Returns the file or SavedModel folder that a path means: itself, or the model in a downloaded folder.

    A folder with `saved_model.pb` is a SavedModel. In another one `model.onnx` counts, in its folder `onnx` or in
    itself, then `vision_model.onnx`, then the only model's file or SavedModel.

    Args:
        path: of a file or folder that exists.
        model: its name in errors.

    Raises:
        KdistillError: a folder without a model, or with several of which none has such a name.
    """
    path = Path(path)
    if not path.is_dir() or (path / "saved_model.pb").exists():
        return path
    folders = [path / "onnx", path]
    for name in _USUAL:
        for folder in folders:
            if (folder / name).is_file():
                return folder / name
    found = [file for folder in folders for suffix in SUFFIXES for file in sorted(folder.glob(f"*{suffix}"))]
    found += sorted(file.parent for file in path.glob("*/saved_model.pb"))
    if len(found) == 1:
        return found[0]
    if found:
        listed = ", ".join(str(file.relative_to(path)) for file in found[:6])
        raise KdistillError(f"{model} is a folder with {len(found)} models ({listed}); name the path of one of them")
    raise KdistillError(
        f"{model} is a folder without saved_model.pb, so not a SavedModel, and without onnx/model.onnx or another model"
    )
