"""Hostile lists of images."""

import os
from pathlib import Path

from hostile_case import Cases, sparse

from kdistill.data.lists import read_list

CASES = Cases()
LISTS: dict[str, bytes] = {
    "list: path traversal": b"../../../etc/passwd, 1\n",
    "list: path traversal in the middle": b"a/../../b.jpg, 1\n",
    "list: absolute path": b"/etc/passwd, 1\n",
    "list: no label": b"a.jpg\n",
    "list: label of 30 digits": b"a.jpg, " + b"9" * 30,
    "list: label of 10^5 digits": b"a.jpg, " + b"9" * 100_000,
    "list: field of 20 MB": b"a" * 20_000_000,
    "list: no utf-8": b"\xff\xfe\x00a.jpg, 1\n",
    "list: nothing": b"\n\n\n",
    "list: name twice": b"a.jpg, 1\na.jpg, 2\n",
    "list: zeros": bytes(1000),
}


@CASES.each(LISTS)
def use_list(folder: Path, content: bytes) -> None:
    (folder / "list.txt").write_bytes(content)
    read_list(folder, "list.txt", labelled=True)


@CASES.case("list: sparse file of 8 GiB")
def _(folder: Path) -> None:
    sparse(folder / "list.txt", 8 << 30)
    read_list(folder, "list.txt", labelled=True)


@CASES.case("list: named pipe")
def _(folder: Path) -> None:
    os.mkfifo(folder / "list.txt")
    read_list(folder, "list.txt", labelled=True)
