"""Opens a student's file, in any of the formats it is shipped in, as a function from pixels to embeddings."""

import dataclasses
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from kdistill.errors import KdistillError
from kdistill.runtimes.image_model import Choice, Run
from kdistill.runtimes.inputs import quantised
from kdistill.runtimes.opening import open_image_model


@dataclasses.dataclass(frozen=True)
class Embedder:
    """A model that is ready to run.

    Attributes:
        embed: from uint8 [B, S, S, 3] to float32 [B, D], for any B; may be called from several threads.
        image_size: S.
        callers: how many threads should call it at a time to keep all cores busy.
    """

    embed: Run
    image_size: int
    callers: int


def open_embedder(path: str | Path, *, threads: int | None = None, trusted: Sequence[str] = ()) -> Embedder:
    """Opens a file that this library wrote: input `image` [batch, S, S, 3], output `embedding` [batch, D].

    The input takes pixels 0..255, as uint8, or as float32 or int8 in the twins of `export/formats/input_twins.py`.

    ONNX and TFLite run one thread a call and many calls at a time: threads then never wait for each other within a
    batch, which matters when other cores are decoding. Large files run one call on all cores instead. Of a retriever
    the embedding is taken.

    Args:
        path: a `.keras`, `.onnx` or `.tflite` file.
        threads: calls at a time; None for one a core.
        trusted: packages besides Keras whose classes a `.keras` file may be made of.

    Raises:
        ArgumentError: another kind of file.
        KdistillError: the file is missing, damaged, or has another input.
    """
    label = f"the model {str(path)!r}"
    model = open_image_model(path, label, callers=threads, choice=Choice(trusted=tuple(trusted)))
    source = model.input
    own = model.names == ("image", "embedding")
    twin = own and Path(path).suffix == ".tflite" and source.dtype.name == _stated_pixels(path)
    if not (twin or (source.dtype == np.uint8 and source.takes_bytes)) or source.channels_first:
        raise KdistillError(
            f"{label} takes {source.dtype} of side {source.side}, expected pixels uint8 [batch, S, S, 3]"
        )
    if model.names is not None and not own:
        raise KdistillError(f"{label} has the input and output {model.names}, expected 'image' and 'embedding'")
    run = model.run
    return Embedder((lambda pixels: run(quantised(pixels, source))) if twin else run, source.side, model.callers)


def _stated_pixels(path: str | Path) -> str:
    from kdistill.runtimes.tflite import stated_pixels  # LiteRT, which other formats do not need

    return stated_pixels(path)


def embed_pixels(path: Path | str, pixels: np.ndarray) -> np.ndarray:
    """Returns float32 [n, D], an exported file's embeddings of uint8 [n, S, S, 3], one image a call, as devices do."""
    embedder = open_embedder(path)
    with ThreadPoolExecutor(embedder.callers) as pool:
        return np.concatenate(list(pool.map(lambda image: embedder.embed(image[None]), pixels)))
