"""What a teacher that is a model is shown: pixels of its input size, on the scale that it was trained with."""

import dataclasses
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import PIL.Image

from kdistill.data.images import Image, resize
from kdistill.errors import ArgumentError, KdistillError
from kdistill.runtimes.image_model import ImageInput, ImageModel
from kdistill.runtimes.inputs import quantised
from kdistill.teachers.providers.processor_config import read_recipe
from kdistill.teachers.providers.recipe import Recipe, clip_recipe

# Mean and standard deviation of ImageNet's training images, which torchvision's models are trained with.
_TORCH_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
_TORCH_STD = np.array([0.229, 0.224, 0.225], np.float32)

SCALINGS = {
    "none": lambda pixels: pixels.astype(np.float32),
    "unit": lambda pixels: pixels.astype(np.float32) / np.float32(255),
    "symmetric": lambda pixels: pixels.astype(np.float32) / np.float32(127.5) - np.float32(1),
    "torch": lambda pixels: (pixels.astype(np.float32) / np.float32(255) - _TORCH_MEAN) / _TORCH_STD,
}
"""Name -> function of uint8 [..., 3] RGB: 0..255 as they are, 0..1, -1..1, or torchvision's mean and deviation."""

AUTO = "auto"
"""The recipe of the configuration beside a model, else the scaling that the model itself does; nothing is guessed."""

CLIP = "clip"
"""The recipe that CLIP's encoders are published with, at the side of the model's input."""

_TOLERANCE = 0.05
"""Part of a scaling's range by which the range of a quantised input may differ from it."""


def check_scaling(scaling: str) -> None:
    """Raises ArgumentError unless `scaling` is "auto", one of SCALINGS, "clip" or the path of a JSON file."""
    if scaling not in (AUTO, CLIP, *SCALINGS) and not is_recipe_file(scaling):
        raise ArgumentError(
            f"unknown teacher scaling {str(scaling)!r}; known: {', '.join([AUTO, *SCALINGS, CLIP])}, or the path of a "
            "JSON file such as preprocessor_config.json"
        )


def is_recipe_file(scaling: str) -> bool:
    """Says whether a scaling is the path of a recipe."""
    return str(scaling).lower().endswith(".json")


def stated_recipe(scaling: str, configuration: Path | None) -> tuple[Recipe, Path] | None:
    """Returns the recipe that a scaling names in a file, with the file; None where it names none.

    Args:
        scaling: the path of a JSON file, "auto" for `configuration`, or a name.
        configuration: that lies beside the model, if any.

    Raises:
        KdistillError: the file is missing, damaged, or asks for what is not done here.
    """
    path = Path(scaling) if is_recipe_file(scaling) else configuration if scaling == AUTO else None
    return None if path is None else (read_recipe(path), path)


def choose_view(model: ImageModel, scaling: str, label: str, stated: tuple[Recipe, Path] | None = None) -> "ModelView":
    """Returns how images are shown to a model.

    Args:
        model: an open model.
        scaling: what was asked for.
        label: the model's name in errors.
        stated: see `stated_recipe`.

    Raises:
        ArgumentError: as `choose_scaling`, or a recipe that the input cannot take.
        KdistillError: a recipe that makes squares of another size.
    """
    source = model.input
    if source.encoded:
        if scaling not in (AUTO, "none"):
            raise ArgumentError(
                f"{label} takes encoded photos and scales them itself, so --teacher_scaling must be 'none', "
                f"not {str(scaling)!r}"
            )
        return ModelView(source, "none")
    if scaling == CLIP:
        recipe, origin = clip_recipe(source.side), "the recipe"
    elif stated is not None:
        recipe, origin = stated[0], str(stated[1])
    else:
        return ModelView(source, choose_scaling(model, scaling, label))
    if source.takes_bytes and not recipe.keeps_bytes:
        raise ArgumentError(
            f"{label}: the input takes {source.dtype}, so the scaling must be 'none', not {str(scaling)!r}"
            + ("" if scaling == CLIP else f" by {origin}, which changes the scale of pixels")
        )
    if recipe.side != source.side:
        raise KdistillError(
            f"{label} takes images of side {source.side}, and {origin} makes images of side {recipe.side}; name "
            "another way of showing photos with --teacher_scaling"
        )
    return ModelView(source, recipe)


def choose_scaling(model: ImageModel, scaling: str, label: str) -> str:
    """Returns the key of SCALINGS that a model is shown its images with.

    Args:
        model: an open model.
        scaling: what was asked for; "auto" reads it from the model.
        label: the model's name in errors.

    Raises:
        ArgumentError: another scaling than "none" for an input that takes bytes; "auto" where the model is silent.
    """
    if model.input.takes_bytes and scaling not in (AUTO, "none"):
        raise ArgumentError(
            f"{label}: the input takes {model.input.dtype}, so the scaling must be 'none', not {scaling!r}"
        )
    known = own_scaling(model) if scaling == AUTO else scaling
    if known is None:
        raise ArgumentError(
            f"{label} does not say on which scale it takes pixels: name it with --teacher_scaling=none (0 to 255), "
            "unit (0 to 1), symmetric (-1 to 1), torch (torchvision's mean and deviation), clip, or the path of a "
            "preprocessor_config.json"
        )
    return known


def own_scaling(model: ImageModel) -> str | None:
    """Returns the scaling that a model's own configuration names, or None.

    The sources, the surest first: an input of bytes; a Keras model that rescales itself; the range of a quantised
    input.
    """
    if model.input.takes_bytes or model.scales_itself:
        return "none"
    return _quantised_scaling(model.input)


def _quantised_scaling(source: ImageInput) -> str | None:
    """Returns the scaling whose range an 8-bit input's own scale spans: what it cannot hold it was not trained with."""
    scale, zero_point = source.quantization
    if source.dtype.kind not in "iu" or scale == 0:
        return None
    limits = np.iinfo(source.dtype)
    held = scale * (np.array([limits.min, limits.max], np.float64) - zero_point)
    for name, function in SCALINGS.items():
        ends = function(np.array([[0, 0, 0], [255, 255, 255]], np.uint8))
        wanted = np.array([ends.min(), ends.max()])
        if np.abs(held - wanted).max() <= _TOLERANCE * np.ptp(wanted):
            return name
    return None


@dataclasses.dataclass(frozen=True)
class ModelView:
    """How images become the tensor of a model.

    Attributes:
        source: the model's input.
        scaling: a key of SCALINGS behind the library's own resize, or a recipe; of a quantised input the scale *before*
            its own quantisation. Of no effect where the input takes encoded photos.
    """

    source: ImageInput
    scaling: str | Recipe

    @property
    def name(self) -> str:
        """The view id."""
        if self.source.encoded:
            return "png"
        if isinstance(self.scaling, Recipe):
            return self.scaling.name
        return f"pillow-bilinear-{self.source.side}/{self.scaling}"

    @property
    def scale(self) -> str:
        """The scale of the numbers, for sentences."""
        return self.scaling.scale if isinstance(self.scaling, Recipe) else self.scaling

    def tensor(self, images: Sequence[Image]) -> np.ndarray:
        """Returns the input's type [n, S, S, 3], RGB, or object [n] of the bytes of PNG files of the decoded pixels."""
        if self.source.encoded:
            files = np.empty(len(images), object)
            files[:] = [_png(image.pixels()) for image in images]
            return files
        if isinstance(self.scaling, Recipe):
            real = np.stack([self.scaling.apply(image.pixels()) for image in images])
        else:
            pixels = np.stack([resize(image.pixels(), self.source.side) for image in images])
            if self.source.takes_bytes:
                return pixels.astype(self.source.dtype)
            real = SCALINGS[self.scaling](pixels)
        return quantised(real, self.source)


def _png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    PIL.Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()
