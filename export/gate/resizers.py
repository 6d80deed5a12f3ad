"""How much quality is lost when the gallery was embedded with one resize and the query is resized by another.

Runtimes differ most where an image is made much smaller: Pillow averages over the pixels that fall together
(antialiasing), OpenCV's and TensorFlow's defaults look at four neighbours and skip the rest. MediaPipe does too, and
counts from the pixels' corners instead of their centres, which shifts the picture by up to half a step.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np

from export.gate.mediapipe_resize import MediaPipeResize
from kdistill.console.progress import progress_bar
from kdistill.data import ImageSet, resize
from kdistill.errors import ArgumentError
from kdistill.evaluation import evaluate_query_gallery

Resize = Callable[[np.ndarray, int], np.ndarray]
"""From uint8 [H, W, 3] and a side S to uint8 [S, S, 3]."""

MAX_DROP = 1.0
"""Points of mAP that a pair of resizers may lose against the matching pair."""


@contextlib.contextmanager
def open_resizers() -> Iterator[dict[str, Resize]]:
    """Yields the resizers of the libraries that are installed; `pillow`, the library's own, comes first."""
    known: dict[str, Resize] = {"pillow": resize, "tf.image": _tf_image}
    if find_spec("cv2"):
        import cv2

        known["opencv"] = lambda pixels, size: cv2.resize(pixels, (size, size), interpolation=cv2.INTER_LINEAR)
        known["opencv area"] = lambda pixels, size: cv2.resize(pixels, (size, size), interpolation=cv2.INTER_AREA)
    with contextlib.closing(MediaPipeResize()) as by_mediapipe:
        if find_spec("mediapipe"):
            known["mediapipe"] = by_mediapipe
        yield known


def resizer_table(
    embed: Callable[[np.ndarray], np.ndarray], images: ImageSet, size: int, names: Sequence[str] | None = None
) -> list[dict[str, Any]]:
    """Measures every pair of resizers: even images search among odd ones and odd ones among even ones.

    Both ways, because a half alone tells a drop of one point no better than by 0.2.

    Args:
        embed: uint8 [n, S, S, 3] to float32 [n, D].
        images: labelled images of their full size, at least two of a class.
        size: S.
        names: of the resizers to try; None for all that are installed.

    Returns:
        One object a pair: `gallery`, `queries` (names of resizers), `map`, `drop` (points of mAP below the pair in
        which the queries are resized as this gallery is), `passed` (drop within MAX_DROP).

    Raises:
        ArgumentError: images without labels, or a resizer that is not known.
    """
    if images.labels is None:
        raise ArgumentError("resizers are compared by mAP, which needs labelled images")
    with open_resizers() as available:
        chosen = list(available) if names is None else list(names)
        unknown = [name for name in chosen if name not in available]
        if unknown:
            known = ", ".join(available)
            raise ArgumentError(f"resizer {unknown[0]!r} is not known or not installed; there are {known}")
        pixels = {name: np.empty((len(images), size, size, 3), np.uint8) for name in chosen}
        for row, image in enumerate(progress_bar(images, total=len(images), description="resizing")):
            full = image.pixels()
            for name in chosen:
                pixels[name][row] = available[name](full, size)
    embeddings = {name: embed(stack) for name, stack in pixels.items()}
    maps = {
        (gallery, queries): _half_by_half(embeddings[queries], embeddings[gallery], images.labels)
        for gallery in chosen
        for queries in chosen
    }
    rows = []
    for (gallery, queries), value in maps.items():
        drop = 100 * (maps[gallery, gallery] - value)
        rows.append({"gallery": gallery, "queries": queries, "map": value, "drop": drop, "passed": drop <= MAX_DROP})
    return rows


def _half_by_half(queries: np.ndarray, gallery: np.ndarray, labels: np.ndarray) -> float:
    """Returns the mean mAP of each half of the images searching in the other; rows of both are of the same images."""
    halves = (slice(0, None, 2), slice(1, None, 2))
    maps = [
        evaluate_query_gallery(queries[half], gallery[other], labels[half], labels[other]).map
        for half, other in (halves, halves[::-1])
    ]
    return float(np.mean(maps))


def _tf_image(pixels: np.ndarray, size: int) -> np.ndarray:
    import tensorflow as tf

    return np.rint(tf.image.resize(pixels, (size, size)).numpy()).astype(np.uint8)
