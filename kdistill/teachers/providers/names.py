"""Rows by name, in a few dozen bytes a name: a dictionary of a million texts would take 200 MB."""

from collections.abc import Iterable, Iterator

import numpy as np


class Names:
    """The row of each of n names.

    Names stand one behind the other as UTF-8; they are found by a sorted list of their hashes, and compared.

    Attributes:
        repeated: the first name that stands twice, or None.
    """

    def __init__(self, names: Iterable[str]) -> None:
        """Takes the names, row by row."""
        text, lengths, hashes = bytearray(), [np.zeros(1, np.uint32)], [np.empty(0, np.uint32)]
        for some in _in_blocks(names):
            encoded = [name.encode() for name in some]
            text += b"".join(encoded)
            lengths.append(np.array([len(name) for name in encoded], np.uint32))
            hashes.append(np.array([_hash(name) for name in some], np.uint32))
        self._text, self._ends = text, np.cumsum(np.concatenate(lengths), dtype=np.int64)
        unsorted = np.concatenate(hashes)
        self._order = np.argsort(unsorted, kind="stable").astype(np.int32 if len(unsorted) < 2**31 else np.int64)
        self._hashes = unsorted[self._order]
        self.repeated = self._first_repeated()

    def __len__(self) -> int:
        return len(self._hashes)

    def __iter__(self) -> Iterator[str]:
        return (self._encoded(row).decode() for row in range(len(self)))

    def row(self, name: str) -> int | None:
        """Returns the row of a name, the first where it stands twice; None where there is none."""
        wanted, encoded = np.uint32(_hash(name)), name.encode()
        place = int(np.searchsorted(self._hashes, wanted))
        while place < len(self._hashes) and self._hashes[place] == wanted:
            row = int(self._order[place])
            if self._encoded(row) == encoded:
                return row
            place += 1
        return None

    def _encoded(self, row: int) -> bytearray:
        return self._text[self._ends[row] : self._ends[row + 1]]

    def _first_repeated(self) -> str | None:
        # Rows of equal hashes are neighbours, in their order; few enough to be compared.
        later = np.sort(self._order[1:][self._hashes[1:] == self._hashes[:-1]])
        for row in later.tolist():
            name = self._encoded(row).decode()
            if self.row(name) != row:
                return name
        return None


def _hash(name: str) -> int:
    return hash(name) & 0xFFFFFFFF  # another one in each process; names of equal ones are compared


def _in_blocks(names: Iterable[str], count: int = 4096) -> Iterable[list[str]]:
    block: list[str] = []
    for name in names:
        block.append(name)
        if len(block) == count:
            yield block
            block = []
    if block:
        yield block
