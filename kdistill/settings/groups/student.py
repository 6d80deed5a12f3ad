"""Settings of the student."""

import dataclasses
from typing import Literal

from kdistill.settings.setting import setting


@dataclasses.dataclass(frozen=True)
class StudentSettings:
    """The network that is trained and shipped."""

    backbone: str = setting(
        "small_cnn",
        "small_cnn, mobilenet_v1, mobilenet_v2, mobilenet_v3_small, resnet50_v2, a network of keras.applications by "
        "its name there, such as EfficientNetV2B0, or one of your own: a .keras file without its head, kerashub:PRESET "
        "(or its folder), or package.module:function, called with the image size, which returns a Keras model.",
        common=True,
    )
    backbone_scaling: Literal["auto", "none", "unit", "symmetric", "torch", "clip", "caffe"] = setting(
        "auto",
        "Pixels that a backbone of your own takes: auto (as it, or its preset, says itself; nothing is guessed), none "
        "(0 to 255), unit (0 to 1), symmetric (-1 to 1), torch, clip, or caffe (blue first, less the means).",
    )
    alpha: float = setting(1.0, "Width multiplier of the backbone.", above=0, high=16, common=True)
    image_size: int = setting(32, "Side in pixels of the student's square input.", low=8, high=4096, common=True)
    embedding_dim: int = setting(
        128, "Dimensions of the student's embedding; 0 leaves out the projection behind the pooled features.", low=0,
        high=65_536, common=True,
    )  # fmt: skip
    pooling: Literal["avg", "gem", "cls"] = setting(
        "avg", "How a map or tokens become a vector: avg, gem (of a map), or cls (the first token)."
    )
    student_weights: str | None = setting(
        None,
        "Start of the backbone: a .weights.h5 file, imagenet (downloaded by Keras), a student.keras of another run "
        "(its projection too), or empty (random).",
        common=True,
    )
    hash_bits: int = setting(
        0, "Bits of the student's binary code, a multiple of 8; 0 for an embedding of numbers.", low=0, high=65_536
    )
