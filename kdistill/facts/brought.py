"""Backbones that a user brings: a `.keras` file, a preset of KerasHub, a function; what their names look like."""

from typing import Literal

from kdistill.console.imports import names_function

KERASHUB = "kerashub:"
"""In front of the name of a preset, or of the folder of one."""

HUB_PACKAGE = "keras_hub"

SCALINGS = ("auto", "none", "unit", "symmetric", "torch", "clip", "caffe")
"""What pixels are brought to: what the network itself or its preset says, 0 to 255, 0 to 1, -1 to 1, ImageNet's or
CLIP's mean and deviation, blue first less the mean of each channel."""

MEANS_AND_DEVIATIONS = {
    "torch": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "clip": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
}
"""Of pixels from 0 to 1, red first: those of torchvision's ImageNet models, and CLIP's (openai/CLIP, `clip.py`)."""

Kind = Literal["file", "kerashub", "function"]


def kind_of(backbone: str) -> Kind | None:
    """Returns what a name stands for; None for a network that is known by its name, or for no network at all."""
    if backbone.endswith(".keras"):
        return "file"
    if backbone.startswith(KERASHUB):
        return "kerashub"
    return "function" if names_function(backbone) else None


def is_brought(backbone: str) -> bool:
    """Says whether a backbone is none of those that are known by name."""
    return kind_of(backbone) is not None


def preset_of(backbone: str) -> str:
    """Returns the preset behind `kerashub:`."""
    return backbone.removeprefix(KERASHUB)


def packages_of(backbone: str) -> tuple[str, ...]:
    """Returns the packages that a backbone's own name says to trust."""
    return (HUB_PACKAGE,) if kind_of(backbone) == "kerashub" else ()
