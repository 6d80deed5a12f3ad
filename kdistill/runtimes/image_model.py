"""What all runtimes give: an open model as a function from images to vectors."""

import dataclasses
import io
import os
from collections.abc import Callable

import numpy as np
import PIL.Image

from kdistill.errors import ArgumentError, KdistillError
from kdistill.runtimes.outputs import POOLINGS, as_vectors, pooling_of

LARGE_FILE_BYTES = 32 * 2**20
"""From this size on a network's weights outgrow a core's cache, and copies of them for each thread the memory: one call
at a time then uses all threads, where smaller files run one call a core."""

Run = Callable[[np.ndarray], np.ndarray]
"""From images [n, S, S, 3] of the input's type (or [n] encoded ones, as bytes) to float32 [n, D]."""


@dataclasses.dataclass(frozen=True)
class Choice:
    """What the caller says of a model's file where the file leaves it open.

    Attributes:
        output: name of the output that counts; None for the first that is known (see `outputs.pick_output`).
            `SIGNATURE:NAME` where a file has several signatures.
        pooling: of tokens and maps, one of outputs.POOLINGS.
        side: S, where height and width are open in the file.
        trusted: names of packages besides Keras whose classes a `.keras` file may be made of.
    """

    output: str | None = None
    pooling: str = "auto"
    side: int | None = None
    trusted: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raises ArgumentError for a pooling or side that no model can have."""
        if self.pooling not in POOLINGS:
            raise ArgumentError(f"unknown teacher pooling {self.pooling!r}; known: {', '.join(POOLINGS)}")
        if self.side is not None and self.side < 1:
            raise ArgumentError(f"the teacher's image size must be at least 1, not {self.side}")


@dataclasses.dataclass(frozen=True)
class ImageInput:
    """The one image input of a model.

    Attributes:
        side: S, of the square in pixels; 0 for an input of encoded images, which have any size.
        dtype: of its values.
        batch: the fixed number of images of one call, or None where it is open.
        channels_first: whether the model takes [n, 3, S, S].
        quantization: (scale, zero point) of an 8-bit input, real = scale * (value - zero point); scale 0 means none.
        encoded: whether it takes the bytes of image files, which the model decodes itself.
    """

    side: int
    dtype: np.dtype
    batch: int | None = None
    channels_first: bool = False
    quantization: tuple[float, int] = (0.0, 0)
    encoded: bool = False

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
        choice: what was chosen among its outputs and how it is pooled, such as "last_hidden_state/mean"; "" for a model
            that has one output or an `embedding`, and one vector an image.
        scales_itself: whether its own first layers bring pixels 0..255 to the scale that it was trained with.
        together: how many images a call may hold so that each is answered alike, to the last bit, at any place in it,
            where the batch is open.
    """

    input: ImageInput
    run: Run
    callers: int = 1
    parameters: int | None = None
    names: tuple[str, str] | None = None
    choice: str = ""
    scales_itself: bool = False
    together: int = 8


def calls_at_once(num_threads: int) -> int:
    """Returns how many calls of `num_threads` each fill the cores of this machine, at least 1."""
    return max(1, (os.cpu_count() or 1) // max(1, num_threads))


def in_batches(run: Run, fixed: int | None) -> Run:
    """Returns `run` for any number of rows where a model takes exactly `fixed` at once: the last ones are padded."""
    if fixed is None:
        return run

    def padded(rows: np.ndarray) -> np.ndarray:
        answers = []
        for first in range(0, len(rows), fixed):
            part = rows[first : first + fixed]
            if rows.dtype == object:  # encoded images, for which nothing is no value
                filled = np.concatenate([part, np.repeat(part[-1:], fixed - len(part))])
            else:
                filled = np.pad(part, [(0, fixed - len(part)), *[(0, 0)] * (rows.ndim - 1)])
            answers.append(run(filled)[: len(part)])
        return np.concatenate(answers)

    return padded


def finished(
    call: Callable[[np.ndarray], np.ndarray],
    source: ImageInput,
    model: str,
    choice: Choice,
    output: str,
    *,
    told: bool,
    rank: int | None,
    certain: bool = True,
    callers: int = 1,
    parameters: int | None = None,
    names: tuple[str, str] | None = None,
    scales_itself: bool = False,
    together: int = 8,
) -> ImageModel:
    """Makes an `ImageModel` of a runtime's own call; where the file does not tell all, one blank image is tried.

    Args:
        call: from images in the model's layout and batch to its raw output.
        source: what it takes.
        model: its name in errors.
        choice: what the caller chose.
        output: name of the output that counts.
        told: whether it is one of several, so that its name belongs to the identity of the answers.
        rank: of that output, or None where the file does not say.
        certain: whether the file said all of the input; a trial shows at once what does not fit.
        callers, parameters, names, scales_itself, together: see `ImageModel`.

    Raises:
        KdistillError: the output is nothing that can be pooled to one vector an image, or the trial failed.
        ArgumentError: a pooling that does not suit the output.
    """

    def raw(images: np.ndarray) -> np.ndarray:
        if source.channels_first:
            images = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
        answer = np.asarray(call(images))
        if not answer.ndim or len(answer) != len(images):
            raise KdistillError(
                f"{model}: the output {output!r} has shape {list(answer.shape)} for {len(images)} images; "
                "name another with --teacher_output"
            )
        return answer

    shape: tuple[int, ...] = (1, 1)
    if rank != 2 or not certain:
        blank = np.zeros((source.batch or 1, source.side, source.side, 3), source.dtype)
        try:
            shape = raw(_blank_files(source.batch or 1) if source.encoded else blank).shape
        except KdistillError as error:
            if certain:
                raise
            raise KdistillError(
                f"{error} (tried with a blank image of side {source.side}; --teacher_image_size names another side, "
                "--teacher_output another output)"
            ) from error
    pooling = pooling_of(shape, choice.pooling, model, output, channels_first=source.channels_first)

    def whole(images: np.ndarray) -> np.ndarray:
        return as_vectors(raw(images), model, pooling)

    chosen = [*([output] if told else []), *([pooling.kind] if pooling else [])]
    run = in_batches(whole, source.batch)
    return ImageModel(source, run, callers, parameters, names, "/".join(chosen), scales_itself, together)


def _blank_files(count: int) -> np.ndarray:
    """Returns object [count] of bytes: PNG files of a grey square."""
    buffer = io.BytesIO()
    PIL.Image.new("RGB", (64, 64), (128, 128, 128)).save(buffer, format="PNG")
    files = np.empty(count, object)
    files[:] = buffer.getvalue()
    return files
