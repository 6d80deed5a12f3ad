"""What a teacher that is a model is shown: pixels of its input size, on the scale that it was trained with."""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from kdistill.data.images import Image, resize
from kdistill.errors import ArgumentError, KdistillError

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


def check_scaling(scaling: str) -> None:
    """Raises ArgumentError unless `scaling` is one of SCALINGS."""
    if scaling not in SCALINGS:
        raise ArgumentError(f"unknown teacher scaling {scaling!r}; known: {', '.join(SCALINGS)}")


@dataclasses.dataclass(frozen=True)
class ModelInput:
    """The one image input of a teacher model, and how images become its tensor.

    Attributes:
        model: the model's name in errors.
        size: S, the side of the square that images are resized to.
        dtype: of the input; integers that are not quantised take the pixels 0..255 as they are.
        scaling: a key of SCALINGS.
        quantization: (scale, zero point) of an 8-bit input, real = scale * (value - zero point); scale 0 means none.
    """

    model: str
    size: int
    dtype: np.dtype
    scaling: str
    quantization: tuple[float, int] = (0.0, 0)

    def __post_init__(self) -> None:
        if self._raw_integers() and self.scaling != "none":
            raise ArgumentError(
                f"{self.model}: the input takes {self.dtype}, so the scaling must be 'none', not {self.scaling!r}"
            )

    @property
    def view(self) -> str:
        """The view id."""
        return f"pillow-bilinear-{self.size}/{self.scaling}"

    def tensor(self, images: Sequence[Image]) -> np.ndarray:
        """Returns `dtype` [n, S, S, 3], RGB, by the resize that the whole library uses."""
        pixels = np.stack([resize(image.pixels(), self.size) for image in images])
        if self._raw_integers():
            return pixels.astype(self.dtype)
        real = SCALINGS[self.scaling](pixels)
        scale, zero_point = self.quantization
        if scale == 0:
            return real.astype(self.dtype)
        limits = np.iinfo(self.dtype)
        return np.clip(np.round(real / scale) + zero_point, limits.min, limits.max).astype(self.dtype)

    def _raw_integers(self) -> bool:
        return self.dtype.kind in "iu" and self.quantization[0] == 0


def square_side(height: int | None, width: int | None, model: str) -> int:
    """Returns the side of a model's square input.

    Raises:
        KdistillError: the model's file leaves it open, or it is not a square.
    """
    if not height or not width or height != width or height < 0:
        raise KdistillError(
            f"{model}: the input must be a square of fixed size to serve as a teacher, it is {height} x {width}; "
            "wrap the model in a function and give that as the teacher"
        )
    return int(height)


def as_vectors(output: np.ndarray, model: str) -> np.ndarray:
    """Returns float32 [n, Dt] from a model's output [n, Dt], [n, 1, 1, Dt] or [n, Dt, 1, 1].

    Raises:
        KdistillError: more than one axis besides the batch is longer than 1.
    """
    lengths = [length for length in output.shape[1:] if length != 1]
    if len(lengths) > 1:
        raise KdistillError(
            f"{model}: the output has shape {list(output.shape)}, not one vector an image; "
            "pool it, or wrap the model in a function and give that as the teacher"
        )
    return np.asarray(output, np.float32).reshape(len(output), -1)


def pick_output(names: Sequence[str], model: str) -> int:
    """Returns the position of the only output, or of the one named `embedding`.

    Raises:
        KdistillError: several outputs and none of that name.
    """
    if len(names) == 1:
        return 0
    if "embedding" in names:
        return list(names).index("embedding")
    raise KdistillError(
        f"{model}: has {len(names)} outputs ({', '.join(names)}) and none is called 'embedding'; "
        "wrap the model in a function and give that as the teacher"
    )


def fixed_batches(pixels: np.ndarray, size: int) -> Iterator[tuple[np.ndarray, int]]:
    """Yields (pixels [size, ...], rows that count) for a model whose batch is fixed; the last one is padded."""
    for start in range(0, len(pixels), size):
        part = pixels[start : start + size]
        padding = np.zeros((size - len(part), *part.shape[1:]), part.dtype)
        yield np.concatenate([part, padding]), len(part)
