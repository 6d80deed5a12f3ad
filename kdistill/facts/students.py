"""The backbones of students by name: which sizes and widths they take, and which have published weights."""

import dataclasses
import difflib
import math
from collections.abc import Mapping

from kdistill.errors import ArgumentError
from kdistill.facts.applications import APPLICATIONS, SYMMETRIC
from kdistill.facts.brought import is_brought

IMAGENET = "imagenet"
POOLINGS = ("avg", "gem", "cls")


@dataclasses.dataclass(frozen=True)
class BackboneFacts:
    """What is known about a backbone without building it.

    Attributes:
        smallest: the least image size, in pixels; larger ones need not be multiples of anything.
        scaling: of the pixels that it takes, see `kdistill.facts.applications`.
        published_widths: the width multipliers that have weights trained on ImageNet; empty where none has.
        fixed_width: the network has one width; its multiplier is 1.
        narrowest: the smallest width multiplier that leaves a channel in every layer.
    """

    smallest: int
    published_widths: tuple[float, ...]
    fixed_width: bool = False
    narrowest: float = 0.0
    scaling: str = SYMMETRIC


BACKBONES: Mapping[str, BackboneFacts] = {
    "small_cnn": BackboneFacts(8, ()),
    "mobilenet_v1": BackboneFacts(32, (0.25, 0.5, 0.75, 1.0), narrowest=1 / 32),
    "mobilenet_v2": BackboneFacts(32, (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)),
    "mobilenet_v3_small": BackboneFacts(32, (0.75, 1.0)),
    "resnet50_v2": BackboneFacts(32, (1.0,), fixed_width=True),
}


def is_known(backbone: str) -> bool:
    """Says whether there is a backbone of that name, ours or one of `keras.applications`."""
    return backbone in BACKBONES or backbone in APPLICATIONS


def has_one_width(backbone: str) -> bool:
    """Says whether a backbone is known to come in one width."""
    return (is_known(backbone) or is_brought(backbone)) and facts_of(backbone).fixed_width


def facts_of(backbone: str) -> BackboneFacts:
    """Returns what is known about a backbone.

    Raises:
        ArgumentError: an unknown name.
    """
    if backbone in BACKBONES:
        return BACKBONES[backbone]
    if is_brought(backbone):
        return BackboneFacts(1, (), fixed_width=True)
    if backbone not in APPLICATIONS:
        close = difflib.get_close_matches(backbone, APPLICATIONS, 1, cutoff=0.5) or ["EfficientNetV2B0"]
        raise ArgumentError(
            f"backbone {backbone!r} is unknown; choose one of {', '.join(BACKBONES)}, or a network of "
            f"keras.applications by its name there, such as {close[0]}, or bring one: a .keras file, "
            "kerashub:PRESET or package.module:function"
        )
    facts = APPLICATIONS[backbone]
    return BackboneFacts(facts.smallest, (1.0,), fixed_width=True, scaling=facts.scaling)


def check_width(backbone: str, alpha: float, weights: str | None) -> None:
    """Checks a width multiplier, with the weights that the backbone starts from.

    Args:
        backbone: its name.
        alpha: the width multiplier.
        weights: "imagenet", a file, or None (or empty) for a random start.

    Raises:
        ArgumentError: a width that the backbone does not have, or weights that do not exist for it.
    """
    facts = facts_of(backbone)
    if not (math.isfinite(alpha) and alpha > 0 and alpha >= facts.narrowest):
        bound = f"of at least {facts.narrowest:g}" if facts.narrowest else "above 0"
        raise ArgumentError(f"{backbone} takes a width alpha {bound}; {alpha} was given")
    if facts.fixed_width and alpha != 1:
        raise ArgumentError(f"{backbone} has one width: alpha must be 1; {alpha} was given")
    distilled = weights is not None and weights.endswith(".keras")
    if not weights or distilled:
        return
    if is_brought(backbone):
        raise ArgumentError(
            f"{backbone} brings its own weights; leave the student's weights empty, or give a .keras file"
        )
    if not facts.published_widths:
        raise ArgumentError(f"{backbone} has no published weights; leave the student's weights empty")
    if weights == IMAGENET and alpha not in facts.published_widths:
        widths = ", ".join(f"{width:g}" for width in facts.published_widths)
        raise ArgumentError(
            f"{backbone} has imagenet weights for a width alpha of {widths}; {alpha:g} was given "
            "(leave the student's weights empty, or give a file)"
        )


def check_size(backbone: str, image_size: int) -> None:
    """Checks the side of the square input in pixels.

    Raises:
        ArgumentError: an unknown backbone, or a side that is too small.
    """
    facts = facts_of(backbone)
    if image_size < facts.smallest:
        raise ArgumentError(f"image size {image_size} does not suit {backbone}: it takes {facts.smallest} or more")


def check_pooling(backbone: str, pooling: str) -> None:
    """Checks a pooling as far as it can be without opening a network.

    Raises:
        ArgumentError: "cls", of tokens, for a network that is known to give a map.
    """
    if pooling == "cls" and not is_brought(backbone):
        raise ArgumentError(
            f"pooling 'cls' takes the first of a network's tokens, and {backbone} gives a map: avg or gem"
        )
