"""Which input of a model takes the image, how it lies there, and what its further inputs are fed with."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kdistill.errors import KdistillError
from kdistill.runtimes.image_model import ImageInput

_IMAGE = "pixel_values"
"""What exporters call an image among other inputs; its colours come first, whatever the format."""

_LENGTH = 8
"""Of an open axis of a further input, such as the words of a text: short, and no text encoder is shorter."""


@dataclasses.dataclass(frozen=True)
class Tensor:
    """An input as its file describes it.

    Attributes:
        name: of the input.
        shape: lengths of the axes; whatever is no positive integer (None, -1, 0, a name) is open.
        dtype: whatever numpy takes for a type, or the runtime's own name of one that numpy lacks.
        quantization: of an 8-bit input.
    """

    name: str
    shape: Sequence[Any]
    dtype: Any
    quantization: tuple[float, int] = (0.0, 0)

    def kind(self) -> np.dtype:
        """Returns the type of its values; object for text and what numpy does not know."""
        try:
            return np.dtype(self.dtype)
        except TypeError:
            return np.dtype(object)


def image_tensor(model: str, tensors: Sequence[Tensor]) -> Tensor:
    """Returns the one input that takes images: the only one, or the only one that looks so.

    Raises:
        KdistillError: none or several look so.
    """
    if len(tensors) == 1:
        return tensors[0]
    found = [tensor for tensor in tensors if tensor.kind().kind in "fiu" and _layout(tensor, False) is not None]
    named = [tensor for tensor in found if tensor.name == _IMAGE]
    if len(found) != 1 and len(named) != 1:
        listed = ", ".join(f"{tensor.name} {_shown(tensor.shape)}" for tensor in tensors) or "none"
        raise KdistillError(
            f"{model} must have one input of shape [batch, S, S, 3] or [batch, 3, S, S], {len(found)} of its "
            f"{len(tensors)} inputs look so ({listed}); wrap any other in a function"
        )
    return named[0] if len(named) == 1 else found[0]


def read_image_input(
    model: str,
    shape: Sequence[Any],
    dtype: Any,
    quantization: tuple[float, int] = (0.0, 0),
    *,
    name: str = "",
    side: int | None = None,
    channels_first: bool = False,
) -> ImageInput:
    """Returns the input of a model from what its file says of it.

    Args:
        model: the model's name in errors.
        shape, dtype, quantization, name: see `Tensor`.
        side: S where height and width are open.
        channels_first: how the image lies where all axes are open and neither their names nor `name` tell.

    Raises:
        KdistillError: not [batch, S, S, 3] or [batch, 3, S, S], not a square, of an open size without `side`, or no
            numbers.
    """
    tensor = Tensor(name, shape, dtype, quantization)
    lengths = [_length(axis) for axis in shape]
    first = _layout(tensor, channels_first)
    if first is None:
        raise KdistillError(
            f"{model} must have one input of shape [batch, S, S, 3] or [batch, 3, S, S], it has "
            f"{_shown(shape)}; wrap any other in a function"
        )
    height, width = lengths[2:] if first else lengths[1:3]
    if height is None or width is None or height == width == 1:
        if side is None or (height or side) not in (1, side) or (width or side) not in (1, side):
            given = "" if side is None else f", and --teacher_image_size={side} does not fit it"
            raise KdistillError(
                f"{model}: the input must be a square of fixed size, its size is open ({_shown(shape)}){given}; name "
                "it with --teacher_image_size, export the model with a fixed height and width, or wrap it in a "
                "function that resizes"
            )
        height = width = side
    if height != width:
        raise KdistillError(
            f"{model}: the input must be a square of fixed size, it is {height} x {width}; wrap the model in a function"
        )
    kind = tensor.kind()
    if kind.kind not in "fiu" or (kind.itemsize == 1 and kind.kind == "i" and quantization[0] == 0):
        raise KdistillError(
            f"{model}: the input takes {dtype}, in which pixels cannot be given; wrap the model in a function"
        )
    return ImageInput(height, kind, lengths[0], first, (float(quantization[0]), int(quantization[1])))


def quantised(real: np.ndarray, source: ImageInput) -> np.ndarray:
    """Returns real values in the type of an input, by its own scale where it is quantised."""
    scale, zero_point = source.quantization
    if scale == 0:
        return real.astype(source.dtype)
    limits = np.iinfo(source.dtype)
    return np.clip(np.round(real / scale) + zero_point, limits.min, limits.max).astype(source.dtype)


def says_all(tensor: Tensor) -> bool:
    """Whether the file itself fixes height, width and colours."""
    return len(tensor.shape) == 4 and all(_length(axis) is not None for axis in tensor.shape[1:])


def further_inputs(model: str, tensors: Sequence[Tensor], side: int) -> Callable[[int], dict[str, np.ndarray]]:
    """Returns a function from the number of images to harmless values of the inputs besides the image.

    Numbers are 0, masks that say what counts are 1 (an attention to nothing would be no number), and those that say
    what is hidden are false. Open axes are the batch, the image's side where their names say so, else a few places.

    Raises:
        KdistillError: an input of text or another type without a harmless value.
    """
    for tensor in tensors:
        if tensor.kind().kind not in "fiub":
            raise KdistillError(
                f"{model}: takes {tensor.dtype} in its input {tensor.name!r} besides the image; wrap the model in a "
                "function that fills it"
            )

    def values(count: int) -> dict[str, np.ndarray]:
        return {tensor.name: _harmless(tensor, count, side) for tensor in tensors}

    return values


def _harmless(tensor: Tensor, count: int, side: int) -> np.ndarray:
    shape = []
    for place, axis in enumerate(tensor.shape):
        length = _length(axis)
        if length is None:
            label = str(axis).lower()
            length = side if "height" in label or "width" in label else _LENGTH
            length = count if place == 0 or "batch" in label else length
        shape.append(length)
    name = tensor.name.lower()
    counts = "mask" in name and "masked" not in name and "padding" not in name
    return np.full(shape, 1 if counts else 0, tensor.kind())


def _layout(tensor: Tensor, default: bool) -> bool | None:
    """Returns whether the colours come first, or None where the shape is that of no image in colour."""
    lengths = [_length(axis) for axis in tensor.shape]
    if len(lengths) != 4:
        return None
    if 3 in (lengths[1], lengths[3]):
        return lengths[3] != 3
    if lengths[1] is not None and lengths[3] is not None:
        return None
    if lengths[1] is not None or lengths[3] is not None:
        # The colours' axis is open; the known length is one of the sides.
        known = lengths[1] or lengths[3]
        return lengths[1] is None if lengths[2] in (None, known) and known != 1 else None
    labels = [str(axis).lower() for axis in tensor.shape]
    if "channel" in labels[1] or "width" in labels[3]:
        return True
    if "channel" in labels[3] or "width" in labels[2]:
        return False
    return True if tensor.name.partition(":")[0] == _IMAGE else default


def _length(axis: Any) -> int | None:
    known = isinstance(axis, int | np.integer) and not isinstance(axis, bool) and axis > 0
    return int(axis) if known else None


def _shown(shape: Sequence[Any]) -> str:
    return " x ".join("?" if _length(axis) is None else str(axis) for axis in shape) or "a scalar"
