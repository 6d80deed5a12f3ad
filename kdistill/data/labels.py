"""Class labels: numbers or words in files, numbers afterwards."""

from collections.abc import Iterable, Sequence

import numpy as np

from kdistill.errors import KdistillError

MAX_LABEL_LENGTH = 1000
"""Characters of a label: a longer one is a mistake in the file."""


def read_label(text: str) -> int | str:
    """Returns a label as a file writes it: an integer of 64 bits where it is one (`007` is 7), else its text.

    Raises:
        KdistillError: nothing, an integer of more than 64 bits, or a text of more than MAX_LABEL_LENGTH characters.
    """
    if len(text) <= MAX_LABEL_LENGTH:
        try:
            return int(np.int64(int(text)))
        except ValueError:
            if text:
                return text
        except OverflowError:
            pass
    raise KdistillError("a label is an integer of 64 bits or a text")


def label_array(labels: Sequence[int | str] | np.ndarray) -> np.ndarray:
    """Returns int64 [n], or object [n] of str where a label is no integer: then all are their texts.

    Texts stand in an array of objects, since numpy's own strings take the length of the longest for each.
    """
    numbers = isinstance(labels, np.ndarray) and labels.dtype.kind in "iub"
    if numbers or not any(isinstance(label, str) for label in labels):
        return np.asarray(labels, dtype=np.int64)
    texts = np.empty(len(labels), dtype=object)
    texts[:] = [str(label) for label in labels]
    return texts


def numbered(sets: Iterable[np.ndarray | None]) -> list[np.ndarray | None]:
    """Returns the labels of several sets as int64, equal where they were equal; integers throughout stay as they are.

    Words are numbered in the order of their texts over all sets, so the order in a file or of the files plays no part.
    """
    given = list(sets)
    known = [labels for labels in given if labels is not None]
    if all(labels.dtype != object for labels in known):
        return given
    names = sorted({str(label) for labels in known for label in labels})
    numbers = {name: number for number, name in enumerate(names)}
    return [
        None if labels is None else np.array([numbers[str(label)] for label in labels], dtype=np.int64)
        for labels in given
    ]
