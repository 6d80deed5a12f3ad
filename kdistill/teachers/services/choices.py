"""Teachers behind HTTP that compare, in any form: a service that reranks images, a model that is asked which is nearer.

Each question is a request of its own, so that one answer that cannot be read spoils no other.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from kdistill.data.images import Image
from kdistill.teachers.services.forms.answers import check_error, decoded, read_choice, read_rows
from kdistill.teachers.services.forms.form import Form
from kdistill.teachers.services.forms.paths import optional_at
from kdistill.teachers.services.photos import Files
from kdistill.teachers.services.service import Service


class ChoiceService(Service):
    """What `OrderService` and `PreferenceService` have in common.

    Attributes:
        view: what the service is shown of an image.
    """

    def __init__(self, url: str, form: Form, **options: Any) -> None:
        """Checks the arguments, see `Service`; asks nothing."""
        super().__init__(url, form, **options)
        self._files = Files(form.photos)
        self.view = self._files.view

    def check_photo(self, image: Image) -> None:
        """Raises UnreadableImage unless the photo can be sent."""
        self._files.file(image)

    def _values(self, **roles: Image) -> dict[str, Any]:
        """Returns the values of names such as `query.base64`."""
        names = {name.rpartition(".")[2] for name in self._form.names}
        return {
            f"{role}.{name}": value
            for role, image in roles.items()
            for name, value in self._files.values(image, names).items()
        }


class OrderService(ChoiceService):
    """Asks a service that scores candidates for a query image."""

    def rank(self, query: Image, candidates: Sequence[Image]) -> np.ndarray:
        """Returns the positions of the candidates, int64 [k], the highest score first (equal ones as they were shown).

        A row of NaN stands for scores that are missing or no numbers; fails as `VectorService.embed`.
        """
        shown = [self._files.values(image, self._form.names) for image in candidates]
        parsed = decoded(self._post(shown, **self._values(query=query))[1])
        check_error(parsed, self._form.answer.get("error"))
        parts = {"vectors": self._form.answer["scores"]}
        if "index" in self._form.answer:
            parts["index"] = self._form.answer["index"]
        scores = read_rows(parsed, parts, len(candidates), width=1)[:, 0]
        if not np.isfinite(scores).all():
            return np.full(len(candidates), np.nan)
        return np.argsort(-scores, kind="stable")

    def shown_request(self, images: Sequence[Image]) -> str:
        """Returns the request about a query and its candidates (images, the query first), shortened, without key."""
        query, *candidates = images
        shown = [self._files.values(image, self._form.names) for image in candidates]
        return self._shown(shown, **self._values(query=query))


class PreferenceService(ChoiceService):
    """Asks a model that answers in words which of two images is nearer to a query image."""

    def prefer(self, query: Image, first: Image, second: Image) -> float:
        """Returns 1.0 for the first, 0.0 for the second, 0.5 for neither; NaN where the form's rules do not tell.

        Fails as `VectorService.embed`.
        """
        parsed = decoded(self._post([], **self._values(query=query, first=first, second=second))[1])
        check_error(parsed, self._form.answer.get("error"))
        return read_choice(optional_at(parsed, self._form.answer["text"]), self._form.answer)

    def shown_request(self, images: Sequence[Image]) -> str:
        """Returns the request about a query and two images, shortened, without the key."""
        query, first, second = images[:3]
        return self._shown([], **self._values(query=query, first=first, second=second))
