"""Reads a recipe from `preprocessor_config.json` or `processor_config.json`, as encoders are published with.

What a configuration leaves out is filled in as the processor that it names does it; without such a name: bilinear, no
crop unless `crop_size` is given, times 1/255, mean and deviation where they are given. What is asked for and not done
here is refused by its name.
"""

import json
import math
from pathlib import Path
from typing import Any

import PIL.Image

from kdistill.errors import KdistillError
from kdistill.files.whole import read_bounded
from kdistill.teachers.providers.processors import PROCESSORS, Processor
from kdistill.teachers.providers.recipe import Recipe

_MAX_BYTES = 2**20
MAX_SIDE = 2**14

_WHOLE_FROM = 384
"""From this side on processors with `crop_pct` squash the image and cut nothing."""

_USED = {
    *("size", "resample", "do_resize", "do_center_crop", "crop_size", "crop_pct", "do_rescale", "rescale_factor"),
    *("do_normalize", "image_mean", "image_std", "do_flip_channel_order", "default_to_square"),
    *("image_processor_type", "feature_extractor_type"),
}
_HARMLESS = {
    *("processor_class", "do_convert_rgb", "return_tensors", "data_format", "input_data_format", "device"),
    *("disable_grouping", "image_seq_length", "transformers_version"),
}
"""Keys that change no number of ours: images are RGB, and the model's own shape says how they lie."""


def read_recipe(path: Path) -> Recipe:
    """Returns the recipe that a JSON file asks for, at its top or under `image_processor`.

    Raises:
        KdistillError: missing, no JSON, a value that makes no sense, or a step that is not done here.
    """
    config = load_json(path)
    if isinstance(config, dict) and "image_processor" in config:
        config = config["image_processor"]
    if not isinstance(config, dict):
        raise KdistillError(f"{path} is no configuration of an image processor: it holds no JSON object")
    return _Reader(path, config).recipe()


def load_json(path: Path) -> Any:
    """Returns what a JSON file holds; raises KdistillError where it is missing, too large or no JSON."""
    try:
        return json.loads(read_bounded(path, _MAX_BYTES))
    except (ValueError, RecursionError) as error:
        raise KdistillError(f"{path} cannot be read as JSON: {error}") from error


class _Reader:
    """One configuration, key by key."""

    def __init__(self, path: Path, config: dict[str, Any]) -> None:
        self._path = path
        # Null says nothing, in the files as in the processors.
        self._config = {key: value for key, value in config.items() if value is not None}
        self._class, self._processor = self._known_processor()
        for key, value in self._config.items():
            if key not in _USED | _HARMLESS and not key.startswith("_") and value is not False:
                raise KdistillError(f"{path} asks for {key} = {_short(value)}, which is not done here{_HELP}")

    def recipe(self) -> Recipe:
        given = self._processor
        shortest, size, crop = self._geometry()
        factor = self._number("rescale_factor", 1 / 255) if self._flag("do_rescale", True) else None
        mean, std = self._colours("image_mean", given.mean), self._colours("image_std", given.std)
        normalises = self._flag("do_normalize", mean is not None or std is not None)
        if normalises and (mean is None or std is None):
            raise self._wrong("do_normalize", "true", "image_mean and image_std beside it")
        return Recipe(
            self._kernel(),
            shortest=shortest,
            size=size,
            crop=crop,
            reverse=self._flag("do_flip_channel_order", False),
            factor=factor,
            mean=mean if normalises else None,
            std=std if normalises else None,
            smooth=given.smooth and factor is not None,
        )

    def _known_processor(self) -> tuple[str, Processor]:
        name = self._config.get("image_processor_type", self._config.get("feature_extractor_type"))
        if name is None:
            crops = "crop_size" in self._config
            return "", Processor(square=not crops, kernel=2, crops=crops, mean=None, std=None)
        stem = str(name)
        for ending in ("Fast", "Pil", "ImageProcessor", "FeatureExtractor"):
            stem = stem.removesuffix(ending)
        if stem not in PROCESSORS:
            raise KdistillError(
                f"{self._path} asks for the processor {_short(name)}, which is not known here; known: "
                f"{', '.join(PROCESSORS)}{_HELP}"
            )
        return stem, PROCESSORS[stem]

    def _geometry(self) -> tuple[int | None, tuple[int, int] | None, int | None]:
        """Returns (shortest, size, crop) of a recipe."""
        crops = self._flag("do_center_crop", self._processor.crops)
        crop = self._crop() if crops else None
        shortest, size = self._size() if self._flag("do_resize", True) else (None, None)
        part = self._number("crop_pct", self._processor.crop_pct)
        if part is not None and self._flag("do_resize", True):
            if crop is not None or shortest is None or self._class not in ("", "ConvNext") or part > 1:
                raise self._wrong("crop_pct", part, "at most 1, a size of the shortest edge, and no centre crop")
            if shortest >= _WHOLE_FROM:
                return None, (shortest, shortest), None
            return int(shortest / part), None, shortest
        if crop is None and shortest is None and size is None:
            raise self._wrong("do_resize", "false", "a centre crop, since the model takes squares of one size")
        if crop is None and shortest is not None:
            raise self._wrong("size", {"shortest_edge": shortest}, "a centre crop (do_center_crop, crop_size) with it")
        if crop is None and size is not None and size[0] != size[1]:
            raise self._wrong("size", f"{size[0]} x {size[1]}", "a square")
        return shortest, size, crop

    def _size(self) -> tuple[int | None, tuple[int, int] | None]:
        value = self._config.get("size")
        if value is None:
            raise KdistillError(f"{self._path} has no 'size', so how large photos are shown is not known{_HELP}")
        if isinstance(value, dict):
            lengths = {key: length for key, length in value.items() if length is not None}
            if set(lengths) == {"shortest_edge"}:
                return self._side("size", lengths["shortest_edge"]), None
            if set(lengths) == {"height", "width"} and self._class != "ConvNext":
                return None, (self._side("size", lengths["height"]), self._side("size", lengths["width"]))
            raise self._wrong("size", value, "a number, height and width, or the shortest_edge alone")
        side = self._side("size", value)
        square = self._flag("default_to_square", self._processor.square)
        return (None, (side, side)) if square else (side, None)

    def _crop(self) -> int:
        value = self._config.get("crop_size")
        if isinstance(value, dict):
            if set(value) != {"height", "width"} or value["height"] != value["width"]:
                raise self._wrong("crop_size", value, "a number, or height and width that are equal")
            value = value["height"]
        return self._side("crop_size", value)

    def _kernel(self) -> int:
        value = self._config.get("resample", self._processor.kernel)
        kernels = {int(kernel): kernel.name.lower() for kernel in PIL.Image.Resampling}
        if isinstance(value, bool) or not isinstance(value, int) or value not in kernels:
            known = ", ".join(f"{number} {name}" for number, name in sorted(kernels.items()))
            raise self._wrong("resample", value, f"Pillow's number of a kernel ({known})")
        return value

    def _colours(self, key: str, default: tuple[float, float, float] | None) -> tuple[float, float, float] | None:
        value = self._config.get(key, default)
        if value is None:
            return None
        values = [value] * 3 if _is_number(value) else value
        expected = "one finite number, or three" + (", none of them 0" if key == "image_std" else "")
        if not isinstance(values, list | tuple) or len(values) != 3 or not all(_is_number(one) for one in values):
            raise self._wrong(key, value, expected)
        if key == "image_std" and 0 in values:
            raise self._wrong(key, value, expected)
        red, green, blue = (float(one) for one in values)
        return red, green, blue

    def _number(self, key: str, default: float | None) -> Any:
        value = self._config.get(key, default)
        if value is not None and (not _is_number(value) or value <= 0):
            raise self._wrong(key, value, "a finite number above 0")
        return None if value is None else float(value)

    def _side(self, key: str, value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_SIDE:
            raise self._wrong(key, value, f"pixels from 1 to {MAX_SIDE}")
        return value

    def _flag(self, key: str, default: bool) -> bool:
        value = self._config.get(key, default)
        if not isinstance(value, bool):
            raise self._wrong(key, value, "true or false")
        return value

    def _wrong(self, key: str, value: Any, expected: str) -> KdistillError:
        return KdistillError(f"{self._path} has {key} = {_short(value)}, expected {expected}{_HELP}")


_HELP = "; name another way of showing photos with --teacher_scaling"


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) < 1e30 and math.isfinite(value)


def _short(value: Any) -> str:
    text = "nothing" if value is None else str(value)
    return text if len(text) <= 80 else text[:80] + "..."
