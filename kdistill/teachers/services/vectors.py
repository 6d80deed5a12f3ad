"""A teacher behind HTTP that embeds, in any form."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from kdistill.data.images import Image
from kdistill.teachers.services.forms.answers import as_rows, check_error, decoded, read_raw, read_rows
from kdistill.teachers.services.forms.form import Form
from kdistill.teachers.services.photos import Files
from kdistill.teachers.services.service import Service
from kdistill.teachers.teacher import BadAnswer


class Shows(Protocol):
    """How photos become values of a template's names; see `Files` and `Pixels`."""

    view: str

    def values(self, image: Image, names: Any) -> dict[str, Any]:
        """Returns the values of a photo by name."""
        ...


class VectorService(Service):
    """Asks a service for the embeddings of images.

    Attributes:
        view: what it is shown, and the output and pooling where the user chose one.
    """

    _batched = True

    def __init__(
        self,
        url: str,
        form: Form,
        *,
        shows: Shows | None = None,
        output: str | None = None,
        pooling: str = "auto",
        channels_first: bool = False,
        choice: Sequence[str] | None = None,
        **options: Any,
    ) -> None:
        """Checks the arguments; asks nothing.

        Args:
            url, form, options: see `Service`.
            shows: how photos are shown; None for the files that the form's photos allow.
            output: name of the output that counts where answers are objects of several.
            pooling: of tokens and maps: "auto", "cls" or "mean" (see runtimes.outputs).
            channels_first: whether maps have the channels first.
            choice: of output and pooling, as the view says it; None for what the user gave.
        """
        super().__init__(url, form, **options)
        self._shows: Shows = shows or Files(form.photos)
        self._output, self._pooling, self._channels_first = output, pooling, channels_first
        given = [*([output] if output else []), *([pooling] if pooling != "auto" else [])]
        self.view = "/".join([self._shows.view, *(given if choice is None else choice)])

    def embed(self, images: Sequence[Image]) -> np.ndarray:
        """Returns float [n, Dt].

        Raises:
            NotAsked: refused, not reached, or still "not served" after all retries.
            NoAnswer: timed out or cut off on the way back, or fewer entries than images.
            BadAnswer: not what the form says.
        """
        shown = [self._shows.values(image, self._form.names) for image in images]
        kind, answer = self._post(shown, count=len(images), shape=self._shape(len(images)))
        if kind == "application/octet-stream" and "raw" in self._form.answer:
            return read_raw(answer, len(images))
        parsed, parts = decoded(answer), self._paths()
        check_error(parsed, parts.get("error"))
        rows = read_rows(parsed, parts, len(images), output=self._output, batched=self._batched)
        if rows.ndim > 2 and self._pooling == "auto" and "shape" not in parts:
            raise BadAnswer(
                "the teacher's answer holds several vectors for an image; say which counts with --teacher_pooling"
            )
        return as_rows(rows, self._pooling, channels_first=self._channels_first)

    def check_photo(self, image: Image) -> None:
        """Raises UnreadableImage unless the photo can be sent: decoded, and brought within the service's limits."""
        self._shows.values(image, ())

    def shown_request(self, images: Sequence[Image]) -> str:
        """Returns the request that would ask about the images (as many as fit into one), shortened, without the key."""
        images = images[: self.largest_batch]
        shown = [self._shows.values(image, self._form.names) for image in images]
        return self._shown(shown, count=len(images), shape=self._shape(len(images)))

    def _shape(self, count: int) -> list[int]:
        """Returns the shape that a request states."""
        return [count]

    def _paths(self) -> dict[str, str]:
        return dict(self._form.answer)
