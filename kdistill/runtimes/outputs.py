"""Which output of a model counts, and how tokens or a map become one vector an image."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from kdistill.errors import ArgumentError, KdistillError

PREFERRED = ("embedding", "image_embeds", "pooler_output", "last_hidden_state")
"""Names of outputs in the order in which they count: our own, then what exporters of image encoders write."""

POOLINGS = ("auto", "cls", "mean")
"""How tokens [n, T, D] become [n, D]: the first one, the mean over all, or "auto" (see `pooling_of`)."""


@dataclasses.dataclass(frozen=True)
class Pooling:
    """How an output with more than one vector an image is pooled.

    Attributes:
        kind: "cls" or "mean".
        axes: over which the mean is taken.
    """

    kind: str
    axes: tuple[int, ...] = ()


def pick_output(names: Sequence[str], model: str, wanted: str | None = None) -> str:
    """Returns the name of the output that counts: the wanted one, the only one, or the first known of PREFERRED.

    Raises:
        ArgumentError: no output has the wanted name.
        KdistillError: several outputs and none of a known name.
    """
    if wanted is not None:
        if wanted not in names:
            known = f"its outputs are {', '.join(names)}" if any(names) else "its outputs have no names"
            raise ArgumentError(f"{model} has no output {wanted!r} (--teacher_output); {known}")
        return wanted
    if len(names) == 1:
        return names[0]
    for name in PREFERRED:
        if name in names:
            return name
    listed = f" ({', '.join(names)})" if any(names) else ""
    known = ", ".join(map(repr, PREFERRED[:-1]))
    raise KdistillError(
        f"{model}: has {len(names)} outputs{listed} and none is called {known} or {PREFERRED[-1]!r}; "
        "name one with --teacher_output, or wrap the model in a function"
    )


def is_told(name: str, names: Sequence[str], signature: str = "") -> bool:
    """Whether the output that counts is one of several, so that another one could have been meant.

    `embedding` is none of several: it counted before others did, and answers that were paid for stay valid.
    """
    return bool(signature) or (len(names) > 1 and name != "embedding")


def pooling_of(
    shape: Sequence[int], wanted: str, model: str, output: str, *, channels_first: bool = False
) -> Pooling | None:
    """Returns how an output of this shape is pooled, or None where it is one vector an image already.

    Tokens are [n, T, D]. "auto" takes the first token where T is no square number: a square image has a square number
    of patches, so T - 1 (or T - 5 with four registers) patches stand behind a class token, which comes first in
    `last_hidden_state` by convention (ViT, CLIP, DINOv2). Where T is a square number there is no class token (SigLIP,
    Swin), and "auto" is the mean. "mean" is over all T tokens, a class token among them.

    Maps are [n, D, P, P] or [n, P, P, D] with any side P; their mean is over the places. Where all three lengths are
    equal the map lies as the input does.

    Args:
        shape: with the batch.
        wanted: one of POOLINGS.
        model, output: names in errors.
        channels_first: whether the model's input has the colours first.

    Raises:
        ArgumentError: a pooling for an output that has nothing to pool, or "cls" of a map.
        KdistillError: neither a vector, tokens nor a map.
    """
    lengths = list(shape[1:])
    if len([length for length in lengths if length != 1]) <= 1:
        if wanted != "auto":
            raise ArgumentError(
                f"{model}: the output {output!r} is one vector an image, so there is nothing to pool; leave out "
                f"--teacher_pooling={wanted}, or name an output of tokens with --teacher_output"
            )
        return None
    if len(lengths) == 2:
        kind = wanted
        if wanted == "auto":
            kind = "mean" if math.isqrt(lengths[0]) ** 2 == lengths[0] else "cls"
        return Pooling(kind, (1,))
    if len(lengths) == 3 and (lengths[0] == lengths[1] or lengths[1] == lengths[2]):
        if wanted == "cls":
            raise ArgumentError(
                f"{model}: the output {output!r} is a map of shape {list(shape)}, which has no class token; "
                "--teacher_pooling=mean suits it"
            )
        first = lengths[1] == lengths[2] and (lengths[0] != lengths[1] or channels_first)
        return Pooling("mean", (2, 3) if first else (1, 2))
    raise KdistillError(
        f"{model}: the output {output!r} has shape {list(shape)}, not one vector an image, tokens or a square map; "
        "name another with --teacher_output, or wrap the model in a function"
    )


def as_vectors(output: np.ndarray, model: str, pooling: Pooling | None = None) -> np.ndarray:
    """Returns float32 [n, D] from a model's output: pooled, or [n, D], [n, 1, 1, D] or [n, D, 1, 1] as it is.

    Raises:
        KdistillError: not pooled, and more than one axis besides the batch is longer than 1.
    """
    values = np.asarray(output, np.float32)  # first of all: half floats would lose digits in a mean
    if pooling is not None and values.ndim > max(pooling.axes):
        return np.ascontiguousarray(values[:, 0]) if pooling.kind == "cls" else values.mean(pooling.axes)
    if not values.ndim or len([length for length in values.shape[1:] if length != 1]) > 1:
        raise KdistillError(
            f"{model}: the output has shape {list(output.shape)}, not one vector an image; "
            "pool it, or wrap the model in a function"
        )
    return values.reshape(len(values), -1)
