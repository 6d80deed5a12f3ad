"""Orders and preferences over HTTP: what a service is sent that compares images instead of embedding them.

Each image is sent once a request, however many questions it stands in; questions name images by their position:

    {"images": ["base64 of an image file", ...], "orders":      [[query, candidate, candidate, ...], ...]}
    {"images": ["base64 of an image file", ...], "preferences": [[query, first, second], ...]}

The answer has one entry a question, in order, or with "index": [int, ...] those of some questions:

    {"orders":      [[place in the question's list of candidates, from 0, best first], ... or null]}
    {"preferences": [probability that the first is the better match, ... or null]}
"""

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import PIL.Image

from kdistill.data.images import Image
from kdistill.teachers.compound import QueryAndCandidates


class HttpComparisons:
    """The part of `HttpTeacher` that asks for orders and preferences; `_ask` is the teacher's."""

    def _ask(self, question: dict[str, Any], count: int, key: str, width: int | None = None) -> np.ndarray:
        raise NotImplementedError

    def rank(self, query: Image, candidates: Sequence[Image]) -> np.ndarray:
        """Returns float [k], the service's order; see `rank_batch`."""
        return self.rank_batch([(query, tuple(candidates))])[0]

    def rank_batch(self, questions: Sequence[QueryAndCandidates]) -> np.ndarray:
        """Returns float [n, k], a row of NaN for each answer that is not k numbers; fails as `embed` does."""
        return self._ask(_body(questions, "orders"), len(questions), "orders", len(questions[0][1]))

    def prefer(self, query: Image, first: Image, second: Image) -> float:
        """Returns the service's probability; see `prefer_batch`."""
        return float(self.prefer_batch([(query, (first, second))])[0, 0])

    def prefer_batch(self, questions: Sequence[QueryAndCandidates]) -> np.ndarray:
        """Returns float [n, 1], NaN for each answer that is not a number; fails as `embed` does."""
        return self._ask(_body(questions, "preferences"), len(questions), "preferences", 1)


def base64_of(image: Image) -> str:
    """Returns what is sent of an image, after a look whether it can be decoded: a broken file is not worth paying for.

    Raises:
        UnreadableImage: it cannot.
    """
    pixels = image.pixels()
    if image.box is None:
        return base64.b64encode(image.encoded()).decode("ascii")
    buffer = io.BytesIO()
    PIL.Image.fromarray(pixels).save(buffer, format="PNG")
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def _body(questions: Sequence[QueryAndCandidates], key: str) -> dict[str, Any]:
    places: dict[str, int] = {}
    images: list[str] = []
    listed: list[list[int]] = []
    for query, candidates in questions:
        for image in (query, *candidates):
            if image.id not in places:
                places[image.id] = len(images)
                images.append(base64_of(image))
        listed.append([places[image.id] for image in (query, *candidates)])
    return {"images": images, key: listed}
