"""Settings of the assistant."""

import dataclasses
from typing import Literal

from kdistill.settings.setting import setting


@dataclasses.dataclass(frozen=True)
class AssistantSettings:
    """A larger network that learns the answers and then answers for the whole pool."""

    assistant_backbone: str | None = setting(
        None,
        "The network, named as in --backbone, such as a .keras file that gives pooled features; empty for no assistant "
        "(a teacher of pairs needs one).",
        common=True,
    )
    assistant_backbone_scaling: Literal["auto", "none", "unit", "symmetric", "torch", "clip", "caffe"] = setting(
        "auto", "Pixels that an assistant of your own takes, as --backbone_scaling says them."
    )
    assistant_alpha: float = setting(1.0, "Width multiplier of the assistant's backbone.", above=0, high=16)
    assistant_image_size: int = setting(192, "Side in pixels of the assistant's input.", low=8, high=4096, common=True)
    assistant_weights: str | None = setting(
        None, "Weights of the assistant's backbone: a .weights.h5 file, imagenet, or empty (random).", common=True
    )
    assistant_training: Literal["auto", "whole", "head"] = setting(
        "auto",
        "What learns: whole (all of the network), head (a projection of its frozen features, in seconds), or auto: "
        "whole for a teacher that gives vectors, head for one that compares.",
    )
    assistant_dim: int = setting(
        128, "Dimensions of a whole assistant's embedding; a head has up to 256.", low=2, high=65_536
    )
    assistant_steps: int = setting(300, "Training steps of the assistant.", low=1, high=10**9)
    assistant_learning_rate: float = setting(
        2e-4, "whole: learning rate at the start; it falls to 0 along a cosine.", above=0, high=1e6
    )
    assistant_truth: float = setting(
        0.0,
        "Weight of the teacher's own ranking of the images that were asked about, beside the assistant's of all; at 0 "
        "the assistant, which has learned it, teaches alone.",
        low=0,
        high=1e6,
    )
    assistant_if_better: bool = setting(
        True,
        "Go on without an assistant where nothing speaks for it: no pretrained weights, a pool hardly larger than the "
        "answers, or features that agree with held-out answers no better than the student's.",
    )
