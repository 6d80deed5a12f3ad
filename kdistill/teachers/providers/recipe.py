"""A recipe: how a photo of any size becomes the square of numbers that an encoder was trained on.

The steps and their rounding are those of the image processors that such encoders are published with, so that the
numbers are the same: Pillow resizes bytes, a centre crop, a factor, then mean and deviation in float32.
"""

import dataclasses
import math

import numpy as np
import PIL.Image

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

LARGE_PIXELS = 32 * 10**6
"""Above so many pixels after the resize only those of the centre crop are made: a long strip would fill the memory."""


@dataclasses.dataclass(frozen=True)
class Recipe:
    """The steps, in their order; None leaves one out. At least one of `shortest`, `size` and `crop` is given.

    Attributes:
        kernel: of the resize, as Pillow numbers them.
        shortest: length of the shorter edge after the resize, which keeps the ratio.
        size: (height, width) after the resize, where it does not.
        crop: side of the centre crop; what lies outside of a smaller image is black.
        reverse: whether the colours go in as blue, green, red.
        factor: multiplied with 0..255.
        mean, std: taken off, and divided by, for each colour.
        smooth: whether the resize is in float32 and not rounded to bytes, as the processors without Pillow do it.
    """

    kernel: int
    shortest: int | None = None
    size: tuple[int, int] | None = None
    crop: int | None = None
    reverse: bool = False
    factor: float | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    smooth: bool = False

    @property
    def side(self) -> int:
        """S, of the square that comes out."""
        return self.crop or (self.size or (0, 0))[0]

    @property
    def keeps_bytes(self) -> bool:
        """Whether what comes out are pixels 0..255 as they are."""
        return self.factor is None and self.mean is None and not self.smooth

    @property
    def scale(self) -> str:
        """What is done to the numbers, in words of an id."""
        parts = ["bgr"] if self.reverse else []
        parts += [] if self.factor is None else [f"x{self.factor!r}"]
        for word, values in (("mean", self.mean), ("std", self.std)):
            parts += [] if values is None else [word + ",".join(map(repr, values))]
        return "-".join(parts) or "none"

    @property
    def name(self) -> str:
        """The view id: all that decides the numbers."""
        parts = ["pillow", PIL.Image.Resampling(self.kernel).name.lower()]
        parts += ["float"] if self.smooth else []
        parts += [] if self.shortest is None else [f"shortest{self.shortest}"]
        parts += [] if self.size is None else [f"{self.size[0]}x{self.size[1]}"]
        parts += [] if self.crop is None else [f"crop{self.crop}"]
        return f"{'-'.join(parts)}/{self.scale}"

    def apply(self, pixels: np.ndarray) -> np.ndarray:
        """Returns float32 [S, S, 3] of uint8 RGB [H, W, 3] of any size."""
        height, width = self._resized_to(*pixels.shape[:2])
        if self.crop is not None and height * width > LARGE_PIXELS:
            image = _resized_middle(pixels, (height, width), self.crop, self.kernel)
        else:
            image = _resized(pixels, (height, width), self.kernel, smooth=self.smooth)
        if self.crop is not None:
            image = centre_crop(image, self.crop)
        if self.reverse:
            image = image[..., ::-1]
        real: np.ndarray = image.astype(np.float32)
        if self.factor is not None:
            real = np.multiply(image, self.factor, dtype=np.float64).astype(np.float32)
        if self.mean is not None:
            real = (real - np.array(self.mean, np.float32)) / np.array(self.std, np.float32)
        return real

    def _resized_to(self, height: int, width: int) -> tuple[int, int]:
        if self.size is not None:
            return self.size
        if self.shortest is None:
            return height, width
        longer = int(self.shortest * max(height, width) / min(height, width))
        return (longer, self.shortest) if width <= height else (self.shortest, longer)


def clip_recipe(side: int) -> Recipe:
    """Returns what CLIP's encoders are shown: the shorter edge bicubic, a centre crop, CLIP's mean and deviation."""
    return Recipe(3, shortest=side, crop=side, factor=1 / 255, mean=CLIP_MEAN, std=CLIP_STD)


def centre_crop(image: np.ndarray, side: int) -> np.ndarray:
    """Returns [side, side, 3] from the middle of [H, W, 3]; where an edge is shorter, zeros stand around it.

    Of an odd difference the smaller half lies at the top and left of a cut, the larger half there of a frame.
    """
    cut = np.zeros((side, side, *image.shape[2:]), image.dtype)
    taken, placed = [], []
    for length in image.shape[:2]:
        first = max(0, (length - side) // 2)
        frame = max(0, math.ceil((side - length) / 2))
        taken.append(slice(first, first + min(side, length)))
        placed.append(slice(frame, frame + min(side, length)))
    cut[tuple(placed)] = image[tuple(taken)]
    return cut


def _resized(pixels: np.ndarray, size: tuple[int, int], kernel: int, *, smooth: bool) -> np.ndarray:
    if pixels.shape[:2] == size:
        return pixels
    if smooth:
        # Pillow has no type of three floats: one colour at a time.
        bands = [PIL.Image.fromarray(pixels[..., band].astype(np.float32)) for band in range(3)]
        return np.stack([np.asarray(band.resize(size[::-1], PIL.Image.Resampling(kernel))) for band in bands], -1)
    return np.asarray(PIL.Image.fromarray(pixels).resize(size[::-1], PIL.Image.Resampling(kernel)))


def _resized_middle(pixels: np.ndarray, size: tuple[int, int], side: int, kernel: int) -> np.ndarray:
    """Returns the middle, at most side x side, of what `_resized` would make, without making the rest."""
    lengths, edges = [], []
    for old, new in zip(pixels.shape[:2], size, strict=True):
        first, length = max(0, (new - side) // 2), min(side, new)
        lengths.append(length)
        edges.append((first * old / new, min(old, (first + length) * old / new)))
    (top, bottom), (left, right) = edges
    image = PIL.Image.fromarray(pixels)
    cut = image.resize((lengths[1], lengths[0]), PIL.Image.Resampling(kernel), box=(left, top, right, bottom))
    return np.asarray(cut)
