"""The checksums of a published folder: what is in it, and that nothing is damaged."""

import re
from pathlib import Path

from kdistill.errors import KdistillError
from kdistill.files.whole import read_bounded, sha256_of

NAME = "SHA256SUMS"
"""The list that `sha256sum --check` reads; by it a published folder is known."""

_MOST_BYTES = 1 << 20


def listed(folder: Path) -> str:
    """Returns the list of a folder's files, as `sha256sum` writes it."""
    return "".join(f"{sha256_of(file)}  {file.name}\n" for file in sorted(folder.iterdir()))


def checked(folder: Path, *, content: bool) -> list[str]:
    """Returns the names of a published folder's files.

    Args:
        folder: that `python -m export publish` wrote.
        content: compare each file with its checksum.

    Raises:
        KdistillError: the folder is none, or a file is missing, damaged or has a name that leads elsewhere.
    """
    if not (folder / NAME).is_file():
        raise KdistillError(f"{folder} is no published folder: it holds no {NAME}")
    names = []
    for line in read_bounded(folder / NAME, _MOST_BYTES).decode("utf-8", "replace").splitlines():
        found = re.fullmatch(r"([0-9a-f]{64})  ([^/\\]+)", line)
        if found is None or found[2] in (".", ".."):
            raise KdistillError(f"{folder / NAME} holds the line {line!r}, which is no checksum and name")
        names.append(found[2])
        file = folder / found[2]
        if not file.is_file():
            raise KdistillError(f"{file} is missing")
        if content and sha256_of(file) != found[1]:
            raise KdistillError(f"{file} is damaged: its checksum is not that of {NAME}")
    return names
