"""What a teacher that is a model is shown: pixels of its input size, on the scale that it was trained with."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from kdistill.data.images import Image, resize
from kdistill.errors import ArgumentError
from kdistill.runtimes.image_model import ImageInput, ImageModel

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
"""The scaling that the model's own configuration names; where it names none, nothing is guessed."""

_TOLERANCE = 0.05
"""Part of a scaling's range by which the range of a quantised input may differ from it."""


def check_scaling(scaling: str) -> None:
    """Raises ArgumentError unless `scaling` is "auto" or one of SCALINGS."""
    if scaling != AUTO and scaling not in SCALINGS:
        raise ArgumentError(f"unknown teacher scaling {scaling!r}; known: {', '.join([AUTO, *SCALINGS])}")


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
            "unit (0 to 1), symmetric (-1 to 1) or torch (torchvision's mean and deviation)"
        )
    return known


def own_scaling(model: ImageModel) -> str | None:
    """Returns the scaling that a model's own configuration names, or None.

    The sources, the surest first: an input of bytes; a Keras model that rescales itself; the range of a quantised
    input. (A `preprocessor_config.json` beside the file would be the fourth.)
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
        scaling: a key of SCALINGS; of a quantised input the scale *before* its own quantisation.
    """

    source: ImageInput
    scaling: str

    @property
    def name(self) -> str:
        """The view id."""
        return f"pillow-bilinear-{self.source.side}/{self.scaling}"

    def tensor(self, images: Sequence[Image]) -> np.ndarray:
        """Returns the input's type [n, S, S, 3], RGB, by the resize that the whole library uses."""
        pixels = np.stack([resize(image.pixels(), self.source.side) for image in images])
        if self.source.takes_bytes:
            return pixels.astype(self.source.dtype)
        real = SCALINGS[self.scaling](pixels)
        scale, zero_point = self.source.quantization
        if scale == 0:
            return real.astype(self.source.dtype)
        limits = np.iinfo(self.source.dtype)
        return np.clip(np.round(real / scale) + zero_point, limits.min, limits.max).astype(self.source.dtype)
