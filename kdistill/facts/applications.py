"""The networks of `keras.applications` by name: the scale of their pixels and the smallest photo that they take.

Source: the `preprocess_input` and the constructor of each, https://keras.io/api/applications; both supported versions
of Keras have all of these.
"""

import dataclasses
from collections.abc import Mapping

OWN, SYMMETRIC, TORCH, CAFFE = "own", "symmetric", "torch", "caffe"
"""Scales: 0 to 255, since the network scales them itself; -1 to 1; ImageNet's mean and deviation; blue first, less the
mean of each channel."""


@dataclasses.dataclass(frozen=True)
class ApplicationFacts:
    """What is known about a network of `keras.applications` without building it.

    Attributes:
        scaling: of the pixels that it was trained with.
        smallest: side in pixels of the smallest photo that it takes; larger ones need not be multiples of anything.
    """

    scaling: str
    smallest: int = 32


APPLICATIONS: Mapping[str, ApplicationFacts] = {
    **{f"ConvNeXt{size}": ApplicationFacts(OWN) for size in ("Tiny", "Small", "Base", "Large", "XLarge")},
    **{f"DenseNet{depth}": ApplicationFacts(TORCH) for depth in (121, 169, 201)},
    **{f"EfficientNetB{number}": ApplicationFacts(OWN) for number in range(8)},
    **{f"EfficientNetV2{size}": ApplicationFacts(OWN) for size in ("B0", "B1", "B2", "B3", "S", "M", "L")},
    "InceptionResNetV2": ApplicationFacts(SYMMETRIC, 75),
    "InceptionV3": ApplicationFacts(SYMMETRIC, 75),
    **{f"MobileNet{kind}": ApplicationFacts(SYMMETRIC) for kind in ("", "V2")},
    **{f"MobileNetV3{size}": ApplicationFacts(OWN) for size in ("Small", "Large")},
    **{f"NASNet{size}": ApplicationFacts(SYMMETRIC) for size in ("Mobile", "Large")},
    **{f"ResNet{depth}": ApplicationFacts(CAFFE) for depth in (50, 101, 152)},
    **{f"ResNet{depth}V2": ApplicationFacts(SYMMETRIC) for depth in (50, 101, 152)},
    **{f"VGG{depth}": ApplicationFacts(CAFFE) for depth in (16, 19)},
    "Xception": ApplicationFacts(SYMMETRIC, 71),
}
