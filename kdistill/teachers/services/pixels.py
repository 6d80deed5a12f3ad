"""What models behind a service are shown as numbers: the recipe of `--teacher_scaling`, as for a model's file."""

from collections.abc import Collection
from typing import Any

import numpy as np

from kdistill.data.images import Image
from kdistill.errors import ArgumentError
from kdistill.runtimes.image_model import ImageInput, ImageModel
from kdistill.teachers.providers.preprocessing import choose_view, stated_recipe


class Pixels:
    """Shows photos as numbers in the layout of a model's input.

    Attributes:
        view: identifies what is sent.
    """

    def __init__(self, source: ImageInput, scaling: str, label: str) -> None:
        """Takes the input and how a photo is shown to it.

        Args:
            source: what the model takes.
            scaling: as `--teacher_scaling`; "auto" is known of an input of bytes alone.
            label: of the teacher in errors.

        Raises:
            ArgumentError, KdistillError: as `preprocessing.choose_view`.
        """
        stated = stated_recipe(scaling, None)
        self._shown = choose_view(ImageModel(source, _is_elsewhere), scaling, label, stated)
        self._source, self.view = source, self._shown.name

    def values(self, image: Image, names: Collection[str]) -> dict[str, Any]:
        """Returns the values of those names of a template that a photo has: pixels (nested lists), numbers (flat)."""
        tensor = self._shown.tensor([image])[0]
        if self._source.channels_first:
            tensor = np.ascontiguousarray(tensor.transpose(2, 0, 1))
        found: dict[str, Any] = {}
        if "pixels" in names:
            found["pixels"] = tensor.tolist()
        if "numbers" in names:
            found["numbers"] = tensor.reshape(-1).tolist()
        return found


def open_side(image_size: int | None, scaling: str, label: str) -> int:
    """Returns the side of a square that the service does not tell: of the recipe's file, else `--teacher_image_size`.

    Raises:
        ArgumentError: neither says it.
    """
    stated = stated_recipe(scaling, None)
    side = stated[0].side if stated else image_size
    if side is None:
        raise ArgumentError(f"{label} takes pixels of a size that it does not tell; name it with --teacher_image_size")
    return side


def _is_elsewhere(images: np.ndarray) -> np.ndarray:
    raise NotImplementedError("the model runs behind a service")
