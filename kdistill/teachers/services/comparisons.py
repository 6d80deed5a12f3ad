"""The library's own form, in which one service embeds and compares images.

`forms/kdistill.json` is what a service is sent that embeds. Embeddings come as JSON, one entry an image, in order, or
with "index": [int, ...], the positions of the images that the entries belong to; or as application/octet-stream:
little-endian float32 [n, Dt], one row an image, in order. A service that compares images is asked so:

Each image is sent once a request, however many questions it stands in; questions name images by their position:

    {"images": ["base64 of an image file", ...], "orders":      [[query, candidate, candidate, ...], ...]}
    {"images": ["base64 of an image file", ...], "preferences": [[query, first, second], ...]}

The answer has one entry a question, in order, or with "index": [int, ...] those of some questions:

    {"orders":      [[place in the question's list of candidates, from 0, best first], ... or null]}
    {"preferences": [probability that the first is the better match, ... or null]}
"""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from kdistill.data.images import Image
from kdistill.teachers.compound import CompoundQuestion, QueryAndCandidates
from kdistill.teachers.services.forms.answers import decoded, read_rows
from kdistill.teachers.services.forms.form import OWN, read_form
from kdistill.teachers.services.service import JSON
from kdistill.teachers.services.vectors import VectorService


class HttpTeacher(VectorService):
    """Asks a service in the library's own form for the embeddings of images, for orders of them, or for preferences."""

    def __init__(self, url: str, **options: Any) -> None:
        """Checks the arguments; asks nothing.

        Args:
            url: http(s) address that takes the POST.
            options: see `Service`.
        """
        super().__init__(url, read_form(OWN), **options)

    def rank(self, query: Image, candidates: Sequence[Image]) -> np.ndarray:
        """Returns float [k], the service's order; see `rank_batch`."""
        return self.rank_batch([(query, tuple(candidates))])[0]

    def rank_batch(self, questions: Sequence[QueryAndCandidates]) -> np.ndarray:
        """Returns float [n, k], a row of NaN for each answer that is not k numbers; fails as `embed` does."""
        return self._compare(questions, "orders", len(questions[0][1]))

    def prefer(self, query: Image, first: Image, second: Image) -> float:
        """Returns the service's probability; see `prefer_batch`."""
        return float(self.prefer_batch([(query, (first, second))])[0, 0])

    def prefer_batch(self, questions: Sequence[QueryAndCandidates]) -> np.ndarray:
        """Returns float [n, 1], NaN for each answer that is not a number; fails as `embed` does."""
        return self._compare(questions, "preferences", 1)

    def shown_comparison(self, question: CompoundQuestion, key: str) -> str:
        """Returns the request that asks one question, shortened, without the key; `key` as in the form."""
        return self._text(json.dumps(self._comparison([(question.query, question.candidates)], key)).encode(), JSON)

    def _compare(self, questions: Sequence[QueryAndCandidates], key: str, width: int) -> np.ndarray:
        _, answer = self._send(json.dumps(self._comparison(questions, key)).encode(), JSON)
        parts = {"vectors": f"{key}[]", "index": "index[]"}
        return read_rows(decoded(answer), parts, len(questions), width=width)

    def _comparison(self, questions: Sequence[QueryAndCandidates], key: str) -> dict[str, Any]:
        places: dict[str, int] = {}
        images: list[str] = []
        listed: list[list[int]] = []
        for query, candidates in questions:
            for image in (query, *candidates):
                if image.id not in places:
                    places[image.id] = len(images)
                    images.append(self._shows.values(image, ("base64",))["base64"])
            listed.append([places[image.id] for image in (query, *candidates)])
        return {"images": images, key: listed}
