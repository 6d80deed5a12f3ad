"""Questions about several images at once, put so that `ask` and the ledger take them as they take one image."""

import contextlib
import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kdistill.data.images import Image
from kdistill.teachers.teacher import NoAnswer

QueryAndCandidates = tuple[Image, tuple[Image, ...]]


@dataclasses.dataclass(frozen=True, eq=False)
class CompoundQuestion(Image):
    """A query image and the candidates that the teacher compares for it.

    It is an `Image` as far as asking goes: it has a name, a content hash, and can be checked for being readable.

    Attributes:
        images: the query, then the candidates in the order in which they are shown.
        hashes: content hashes found so far, by image id; shared by all questions of a run, which repeat their images.
    """

    images: tuple[Image, ...] = ()
    hashes: dict[str, str] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, query: Image, candidates: Sequence[Image], hashes: dict[str, str]) -> "CompoundQuestion":
        """Returns the question; its id names the query and, in short, the candidates."""
        names = [image.id for image in candidates]
        shown = " or ".join(names) if len(names) < 3 else hashlib.sha256("\n".join(names).encode()).hexdigest()[:16]
        return cls(f"{query.id}: {shown}", images=(query, *candidates), hashes=hashes)

    @property
    def query(self) -> Image:
        """The image that is asked about."""
        return self.images[0]

    @property
    def candidates(self) -> tuple[Image, ...]:
        """The images that are compared."""
        return self.images[1:]

    def pixels(self) -> np.ndarray:
        """Returns the query's pixels, uint8 [H, W, 3], after a look at those of every candidate.

        Raises:
            UnreadableImage: one of the images cannot be read.
        """
        for image in self.candidates:
            image.pixels()
        return self.query.pixels()

    def content_hash(self) -> str:
        """Returns the sha256 (hex) over the content hashes of the query and of the candidates, in their order.

        Raises:
            UnreadableImage: one of the images cannot be read.
        """
        for image in self.images:
            if image.id not in self.hashes:
                self.hashes[image.id] = image.content_hash()
        return hashlib.sha256("\n".join(self.hashes[image.id] for image in self.images).encode()).hexdigest()


class Comparing:
    """A teacher that compares images, in the form that `ask` knows: a row of numbers for each compound question."""

    def __init__(
        self,
        teacher: Any,
        kind: str,
        dimension: int,
        answer: Callable[[Sequence[QueryAndCandidates]], np.ndarray],
        checked: Callable[[np.ndarray], np.ndarray],
    ) -> None:
        """Keeps how to ask.

        Args:
            teacher: has `name` and `view`, and perhaps `repeatable` (see Teacher).
            kind: of question, such as "order/20"; it stands before the teacher's view.
            dimension: numbers in one answer.
            answer: takes (query, candidates) of each question and returns rows [n, dimension]; fails as
                `Teacher.embed` does.
            checked: returns the rows with those that cannot be right as NaN, which the ledger records as bad answers.
        """
        self.name, self.view, self.dimension = teacher.name, f"{kind}/{teacher.view}", dimension
        self.repeatable = bool(getattr(teacher, "repeatable", False))
        self.hurried = getattr(teacher, "hurried", contextlib.nullcontext)
        self._answer, self._checked = answer, checked
        self._check_photo = getattr(teacher, "check_photo", Image.pixels)

    def check_photo(self, question: Image) -> None:
        """Raises UnreadableImage unless every photo of a question can be shown to the teacher."""
        for image in question.images if isinstance(question, CompoundQuestion) else (question,):
            self._check_photo(image)

    def embed(self, questions: Sequence[Image]) -> np.ndarray:
        """Returns float64 [n, dimension]; see `Teacher.embed` for how it fails."""
        compound = [question for question in questions if isinstance(question, CompoundQuestion)]
        try:
            return self._checked(self._answer([(question.query, question.candidates) for question in compound]))
        except NoAnswer as error:
            # What arrived of a batch is stored at once, so it is checked here as well.
            rows = self._checked(error.embeddings) if len(error.rows) else None
            raise NoAnswer(str(error), rows=error.rows, embeddings=rows) from error


def row_of(answer: object, width: int) -> np.ndarray:
    """Returns one answer as float64 [width], all NaN where it is anything but that many numbers."""
    try:
        row = np.asarray(answer)
    except ValueError:
        row = np.zeros(0)
    if row.shape != (width,) or row.dtype.kind not in "fiu":
        return np.full(width, np.nan)
    return row.astype(np.float64)
