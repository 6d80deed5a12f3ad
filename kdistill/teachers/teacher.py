"""What a teacher is, and the three ways in which one can fail to answer."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from kdistill.data.images import Image
from kdistill.errors import KdistillError


@runtime_checkable
class Teacher(Protocol):
    """A black box that turns images into vectors.

    Attributes:
        name: identifies the teacher; answers of another name never enter the same ledger.
        view: identifies what the teacher is shown of an image, such as "pillow-bilinear-224/unit".

    A teacher whose answers have a length that is known before the first question may have an attribute
    `dimension` (int), so that a mismatch with the ledger is refused before anything is spent.

    A teacher that charges nothing and answers the same when it is asked again, because it runs on this machine, says so
    by an attribute `repeatable` (True): a question whose answer was lost with its process does not count then.
    """

    name: str
    view: str

    def embed(self, images: Sequence[Image]) -> np.ndarray:
        """Returns float32 [n, Dt], one row an image, in order, normalised or not.

        Raises:
            NotAsked: nothing was answered and nothing is owed (the budget is given back).
            NoAnswer: whether the teacher counted the question is not known (it counts as spent).
            BadAnswer: something came back that cannot be used (it counts as spent).
        """
        ...


class NotAsked(KdistillError):
    """The question did not reach the teacher, or was turned away: it costs nothing."""


class BadAnswer(KdistillError):
    """The teacher answered the batch with something that is not one vector an image."""


class NoAnswer(KdistillError):
    """The teacher may have counted the question, but all or part of its answer never arrived.

    Attributes:
        rows: int64 [m], positions in the batch that were answered all the same.
        embeddings: float32 [m, Dt], their vectors.
    """

    def __init__(
        self, message: str, *, rows: Sequence[int] | np.ndarray = (), embeddings: np.ndarray | None = None
    ) -> None:
        super().__init__(message)
        self.rows = np.asarray(rows, np.int64)
        self.embeddings = np.zeros((0, 0), np.float32) if embeddings is None else embeddings
