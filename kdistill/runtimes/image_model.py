"""What all runtimes give: an open model as a function from pixels to vectors, and its one image input, read once."""

import dataclasses
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kdistill.errors import KdistillError

LARGE_FILE_BYTES = 32 * 2**20
"""From this size on a network's weights outgrow a core's cache, and copies of them for each thread the memory: one call
at a time then uses all threads, where smaller files run one call a core."""

Run = Callable[[np.ndarray], np.ndarray]
"""From images [n, S, S, 3] of the input's type to float32 [n, D]."""


@dataclasses.dataclass(frozen=True)
class ImageInput:
    """The one image input of a model.

    Attributes:
        side: S, of the square in pixels.
        dtype: of its values.
        batch: the fixed number of images of one call, or None where it is open.
        channels_first: whether the model takes [n, 3, S, S].
        quantization: (scale, zero point) of an 8-bit input, real = scale * (value - zero point); scale 0 means none.
    """

    side: int
    dtype: np.dtype
    batch: int | None = None
    channels_first: bool = False
    quantization: tuple[float, int] = (0.0, 0)

    @property
    def takes_bytes(self) -> bool:
        """Whether pixels 0..255 go in as they are: integers that are not quantised."""
        return self.dtype.kind in "iu" and self.quantization[0] == 0


@dataclasses.dataclass(frozen=True)
class ImageModel:
    """A model that is open and ready to run.

    Attributes:
        input: what it takes.
        run: from `input.dtype` [n, S, S, 3] to float32 [n, D], for any n from 1; may be called from several threads.
        callers: how many threads should call it at a time to keep all cores busy.
        parameters: how many weights it has, where the format tells.
        names: of its input and its output; None where the format has none.
        scales_itself: whether its own first layers bring pixels 0..255 to the scale that it was trained with.
    """

    input: ImageInput
    run: Run
    callers: int = 1
    parameters: int | None = None
    names: tuple[str, str] | None = None
    scales_itself: bool = False


def calls_at_once(num_threads: int) -> int:
    """Returns how many calls of `num_threads` each fill the cores of this machine, at least 1."""
    return max(1, (os.cpu_count() or 1) // max(1, num_threads))


def read_image_input(
    model: str, shape: Sequence[Any], dtype: Any, quantization: tuple[float, int] = (0.0, 0)
) -> ImageInput:
    """Returns the input of a model from what its file says of it.

    Args:
        model: the model's name in errors.
        shape: lengths of the axes; whatever is no positive integer (None, -1, 0, a name) is a placeholder of an open
            length and never a value.
        dtype: whatever numpy takes for a type.
        quantization: of an 8-bit input.

    Raises:
        KdistillError: not [batch, S, S, 3] or [batch, 3, S, S], not a square, of an open size, or no numbers.
    """
    lengths = [_length(axis) for axis in shape]
    if len(lengths) != 4 or 3 not in (lengths[1], lengths[3]):
        raise KdistillError(
            f"{model} must have one input of shape [batch, S, S, 3] or [batch, 3, S, S], it has "
            f"{_shown(shape)}; wrap any other in a function"
        )
    channels_first = lengths[3] != 3
    height, width = lengths[2:] if channels_first else lengths[1:3]
    if height is None or width is None or height == width == 1:
        raise KdistillError(
            f"{model}: the input must be a square of fixed size, its size is open ({_shown(shape)}); "
            "export the model with a fixed height and width, or wrap it in a function that resizes"
        )
    if height != width:
        raise KdistillError(
            f"{model}: the input must be a square of fixed size, it is {height} x {width}; wrap the model in a function"
        )
    try:
        kind = np.dtype(dtype)
    except TypeError:
        kind = np.dtype(object)
    if kind.kind not in "fiu" or (kind.itemsize == 1 and kind.kind == "i" and quantization[0] == 0):
        raise KdistillError(
            f"{model}: the input takes {dtype}, in which pixels cannot be given; wrap the model in a function"
        )
    return ImageInput(height, kind, lengths[0], channels_first, (float(quantization[0]), int(quantization[1])))


def only_input(model: str, inputs: Sequence[Any]) -> Any:
    """Returns the only one of a model's inputs; raises KdistillError where there are more or none."""
    if len(inputs) != 1:
        raise KdistillError(
            f"{model} must have one input of shape [batch, S, S, 3] or [batch, 3, S, S], it has {len(inputs)} inputs; "
            "wrap any other in a function"
        )
    return inputs[0]


def pick_output(names: Sequence[str], model: str) -> str:
    """Returns the only output's name, or `embedding` where that is one of several.

    Raises:
        KdistillError: several outputs and none of that name.
    """
    if len(names) == 1 or "embedding" in names:
        return names[0] if len(names) == 1 else "embedding"
    raise KdistillError(
        f"{model}: has {len(names)} outputs ({', '.join(names)}) and none is called 'embedding'; "
        "wrap the model in a function"
    )


def as_vectors(output: np.ndarray, model: str) -> np.ndarray:
    """Returns float32 [n, D] from a model's output [n, D], [n, 1, 1, D] or [n, D, 1, 1].

    Raises:
        KdistillError: more than one axis besides the batch is longer than 1.
    """
    if not output.ndim or len([length for length in output.shape[1:] if length != 1]) > 1:
        raise KdistillError(
            f"{model}: the output has shape {list(output.shape)}, not one vector an image; "
            "pool it, or wrap the model in a function"
        )
    return np.asarray(output, np.float32).reshape(len(output), -1)


def in_batches(run: Run, fixed: int | None) -> Run:
    """Returns `run` for any number of rows where a model takes exactly `fixed` at once: the last ones are padded."""
    if fixed is None:
        return run

    def padded(rows: np.ndarray) -> np.ndarray:
        answers = []
        for first in range(0, len(rows), fixed):
            part = rows[first : first + fixed]
            filled = np.pad(part, [(0, fixed - len(part)), *[(0, 0)] * (rows.ndim - 1)])
            answers.append(run(filled)[: len(part)])
        return np.concatenate(answers)

    return padded


def image_run(run: Run, source: ImageInput, model: str) -> Run:
    """Returns a runtime's own call, which takes the model's layout and batch and gives its raw output, as a `Run`."""

    def whole(images: np.ndarray) -> np.ndarray:
        if source.channels_first:
            images = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
        answer = as_vectors(run(images), model)
        if len(answer) != len(images):
            raise KdistillError(f"{model} gave {len(answer)} vectors for {len(images)} images")
        return answer

    return in_batches(whole, source.batch)


def _length(axis: Any) -> int | None:
    known = isinstance(axis, int | np.integer) and not isinstance(axis, bool) and axis > 0
    return int(axis) if known else None


def _shown(shape: Sequence[Any]) -> str:
    return " x ".join("?" if _length(axis) is None else str(axis) for axis in shape) or "a scalar"
