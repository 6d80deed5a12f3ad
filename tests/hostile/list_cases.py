"""Hostile lists of images."""

import os
from pathlib import Path

from hostile_case import Cases, sparse

from kdistill.data.layouts.lists import read_list

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
    "list: utf-16": "a.jpg, 1\n".encode("utf-16"),
    "list: utf-16 without a mark": "a.jpg, 1\n".encode("utf-16-le"),
    "list: utf-32": "a.jpg, 1\n".encode("utf-32"),
    "list: latin-1": "ä.jpg, 1\n".encode("latin-1"),
    "list: only a byte order mark": b"\xef\xbb\xbf\n",
    "list: path traversal in quotes": b'"../a, b.jpg", 1\n',
    "list: path traversal after a byte order mark": b"\xef\xbb\xbf../a.jpg, 1\n",
    "list: windows path": b"cats\\a.jpg, 1\n",
    "list: windows path traversal": b"..\\..\\a.jpg, 1\n",
    "list: windows drive": b"C:/a.jpg, 1\n",
    "list: windows share": b"\\\\server\\share\\a.jpg, 1\n",
    "list: label of 10^6 letters": b"a.jpg, " + b"x" * 1_000_000,
    "list: empty label in quotes": b'a.jpg, ""\n',
    "list: quote that never ends": b'"a.jpg, 1\n' + b'"' * 5_000_001,
    "list: five million quotes": b'"' * 5_000_000,
    "list: five million doubled quotes": b'"x' + b'""x' * 5_000_000,
    "list: quotes that begin and never end": b'"b,' + b',"b' * 2_000_000,
    "list: name twice, once in quotes": b'a.jpg, 1\n"a.jpg", 2\n',
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
