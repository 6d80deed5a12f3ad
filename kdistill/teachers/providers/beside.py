"""What stands beside a model's file and says how photos are shown to it."""

from pathlib import Path

from kdistill.errors import KdistillError
from kdistill.runtimes.folders import model_in
from kdistill.teachers.providers.processor_config import MAX_SIDE, load_json

NAMES = ("preprocessor_config.json", "processor_config.json")


def find_configuration(model: Path) -> Path | None:
    """Returns the configuration of a model's file or folder: beside it (in it, for a folder) or one folder up.

    A `processor_config.json` that says nothing of images is none.
    """
    for folder in _near(model):
        for name in NAMES:
            path = folder / name
            if path.is_file() and (name == NAMES[0] or _speaks_of_images(path)):
                return path
    return None


def declared_side(model: Path) -> int | None:
    """Returns `image_size` of the `config.json` beside a model or one folder up, or that of its `vision_config`.

    None where there is no such file, or none that says so.
    """
    for folder in _near(model):
        try:
            config = load_json(folder / "config.json")
        except KdistillError:
            continue
        for part in (config, config.get("vision_config") if isinstance(config, dict) else None):
            side = part.get("image_size") if isinstance(part, dict) else None
            if isinstance(side, int) and not isinstance(side, bool) and 1 <= side <= MAX_SIDE:
                return side
    return None


def configurations(path: Path, scaling: str) -> list[Path]:
    """Returns the files besides a model's own that decide how it is shown photos, as far as they are there.

    Args:
        path: of the model's file or folder.
        scaling: as `--teacher_scaling` takes it.
    """
    model = model_in(path, str(path))
    beside = find_configuration(model)
    found = [Path(scaling)] if scaling.lower().endswith(".json") else []
    found += [] if beside is None else [beside]
    return [file for file in (*found, *(folder / "config.json" for folder in _near(model))) if file.is_file()]


def _near(model: Path) -> tuple[Path, Path]:
    near = model.absolute() if model.is_dir() else model.absolute().parent
    return near, near.parent


def _speaks_of_images(path: Path) -> bool:
    try:
        config = load_json(path)
    except KdistillError:
        return True  # whoever reads it tells what is wrong
    return not isinstance(config, dict) or "image_processor" in config
