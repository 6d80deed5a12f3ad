"""What one query found, in pictures that are stored inside the page."""

import base64
import dataclasses
import io
from collections.abc import Sequence

import numpy as np
import PIL.Image

THUMBNAIL_SIDE = 112
"""Longest side in pixels of an embedded picture: sharp at the 72 CSS pixels it is shown at, about 4 kB each."""


@dataclasses.dataclass(frozen=True, eq=False)
class Neighbour:
    """One image of the gallery that a model returned.

    Attributes:
        id: the image's id.
        thumb: uint8 [h, w, 3] RGB of any size.
        score: the cosine that the model gave it.
        right: whether it is a true neighbour of the query; None when that is not known.
    """

    id: str
    thumb: np.ndarray
    score: float
    right: bool | None

    @property
    def verdict(self) -> str:
        """`right`, `wrong` or `unknown`: the word that styles the picture and is read aloud."""
        return "unknown" if self.right is None else "right" if self.right else "wrong"


@dataclasses.dataclass(frozen=True, eq=False)
class NeighbourRow:
    """One query and what each model found for it.

    Attributes:
        query_id: the query's id.
        query_thumb: uint8 [h, w, 3] RGB of any size.
        label: the query's class in words, or an empty string.
        columns: model name ("teacher", "student") to its neighbours, best first. A model that has no
            answer for this query is left out.
        overlap: of both models' first ten, 0 to 1; None where it was not compared.
    """

    query_id: str
    query_thumb: np.ndarray
    label: str
    columns: dict[str, list[Neighbour]]
    overlap: float | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Neighbours:
    """The neighbours of a page.

    Attributes:
        marks: what a neighbour's `right` means: "labels" (of the query's class), or "teacher" (both models found it).
        queries: shown at once.
        worst: those of the least overlap with the teacher, shown on request.
        odd: queries that are like nothing else, each with the score of its nearest image.
    """

    marks: str = "labels"
    queries: Sequence[NeighbourRow] = ()
    worst: Sequence[NeighbourRow] = ()
    odd: Sequence[Neighbour] = ()


def picture(pixels: np.ndarray) -> str:
    """Returns uint8 [h, w, 3] as a `data:` address of a JPEG no larger than THUMBNAIL_SIDE on either side."""
    image = PIL.Image.fromarray(np.ascontiguousarray(pixels))
    image.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE), PIL.Image.Resampling.BILINEAR)
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=80, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
