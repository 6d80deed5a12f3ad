"""The published image processors that are known, each by what it does where its configuration is silent."""

import dataclasses

from kdistill.teachers.providers.recipe import CLIP_MEAN, CLIP_STD

_HALF = (0.5, 0.5, 0.5)
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclasses.dataclass(frozen=True)
class Processor:
    """What a processor does where its configuration is silent.

    Attributes:
        square: whether a size that is a number is that of a square, else of the shorter edge.
        kernel: of the resize, as Pillow numbers them.
        crops: whether there is a centre crop.
        mean, std: of the colours, or None where there is no such step.
        crop_pct: the part of the shorter edge that is kept.
        smooth: whether it resizes floats.
    """

    square: bool = True
    kernel: int = 3
    crops: bool = False
    mean: tuple[float, float, float] | None = _HALF
    std: tuple[float, float, float] | None = _HALF
    crop_pct: float | None = None
    smooth: bool = False


_CLIP = Processor(square=False, crops=True, mean=CLIP_MEAN, std=CLIP_STD)
_MOBILENET = Processor(square=False, kernel=2, crops=True)
PROCESSORS = {
    # Of releases that disagree the present one: before 5 it cropped.
    "Beit": Processor(),
    "Bit": _CLIP,
    "Blip": Processor(mean=CLIP_MEAN, std=CLIP_STD),
    "ChineseCLIP": _CLIP,
    "CLIP": _CLIP,
    "ConvNext": Processor(square=False, crop_pct=224 / 256),
    "DeiT": Processor(crops=True),
    "DINOv3ViT": Processor(kernel=2, mean=_IMAGENET_MEAN, std=_IMAGENET_STD, smooth=True),
    "MobileNetV1": _MOBILENET,
    "MobileNetV2": _MOBILENET,
    # A size that is a number is refused: the processor itself makes no square of it.
    "Siglip": Processor(square=False),
    "ViT": Processor(kernel=2),
}
"""Name, without `ImageProcessor` or `FeatureExtractor` and what follows, -> what it does."""
