"""Images named by list files: rows of `path` or `path, label[, coarser labels]`, as spreadsheets write them."""

import os
from pathlib import Path, PureWindowsPath

from kdistill.data.decoding import MAX_MEGAPIXELS
from kdistill.data.images import Image, ImageSet
from kdistill.data.labels import read_label
from kdistill.data.layouts.csv_rows import csv_rows
from kdistill.data.retrieval_data import RetrievalData
from kdistill.errors import KdistillError
from kdistill.files.whole import read_bounded

DEFAULT_POOL = "pool.txt"
"""The list of the pool that is looked for where none is named."""

MAX_LIST_BYTES = 64 << 20
"""A longer list is refused: it would take a gigabyte as names in memory."""


def read_list(
    data_dir: str | Path,
    name: str,
    *,
    labelled: bool | None,
    max_megapixels: float = MAX_MEGAPIXELS,
) -> ImageSet:
    """Reads DIR/NAME: rows of `path` or `path, label[, coarser labels]`; rows without a path are passed over.

    A path or label that holds a comma, a quote, a line break or blanks at its ends stands in quotes ("" for a quote
    inside), as the `csv` module writes it. The id of an image is its path as written. The first label counts: an
    integer, or any text.

    Args:
        data_dir: DIR, the folder that paths are relative to.
        name: of the list in it; UTF-8, with or without a byte order mark.
        labelled: whether labels are read; None reads them where the rows have any.
        max_megapixels: files of more than so many million pixels are refused when they are read.

    Raises:
        KdistillError: a missing or empty list, one that is not UTF-8, a row without its label, or a path that leaves
            the folder or is written as Windows does.
    """
    root = Path(data_dir)
    file = root / name
    images: list[Image] = []
    labels: list[int | str] = []
    rows = [(number, fields) for number, fields in csv_rows(_text(file)) if fields[0]]
    if labelled is None:
        labelled = any(field for _, fields in rows for field in fields[1:2])
    for number, fields in rows:
        place = f"{file}, line {number}"
        _check_path(place, root, fields[0])
        images.append(Image(fields[0], path=root / fields[0], max_megapixels=max_megapixels))
        if labelled:
            try:
                labels.append(read_label(fields[1] if len(fields) > 1 else ""))
            except KdistillError as error:
                row = ", ".join(fields)
                raise KdistillError(f"{place}: expected 'path, label', found {row[:200]!r} ({error})") from None
    if not images:
        raise KdistillError(f"the list {str(file)!r} names no image")
    return ImageSet(images, labels if labelled else None)


def list_data(
    data_dir: str | Path,
    *,
    pool_file: str | None = None,
    gallery_file: str = "test.txt",
    query_file: str | None = None,
    val_file: str | None = None,
    max_megapixels: float = MAX_MEGAPIXELS,
) -> RetrievalData:
    """Returns the images of DIR in the roles that list files give them (the pool's labels, if any, are not read).

    Labels are compared by their texts, in whichever list and order they stand. Those of gallery and queries may be
    missing, in all rows of a list. Without a `pool_file` the pool is `pool.txt` where DIR has one, else the gallery.

    Raises:
        KdistillError: a missing folder or list, or a malformed line.
    """
    root = Path(data_dir)
    if not os.path.isdir(root):
        raise KdistillError(f"the data folder {str(root)!r} does not exist; name it with --data_dir")

    def read(name: str | None, labelled: bool | None = None) -> ImageSet | None:
        return read_list(root, name, labelled=labelled, max_megapixels=max_megapixels) if name else None

    gallery, queries = read(gallery_file), read(query_file)
    if gallery is None:
        raise KdistillError("the list of the gallery needs a name (--gallery_file)")
    if queries is not None and (gallery.labels is None) != (queries.labels is None):
        which = (query_file, gallery_file) if gallery.labels is None else (gallery_file, query_file)
        raise KdistillError(f"{root / str(which[0])} has labels and {root / str(which[1])} has none")
    if pool_file is None and (root / DEFAULT_POOL).is_file():
        pool_file = DEFAULT_POOL
    pool = read(pool_file, labelled=False) or gallery.without_labels()
    return RetrievalData(root.name, pool, gallery, queries, validation=read(val_file, labelled=True))


def _text(file: Path) -> str:
    """Returns a list's text; bytes that are no UTF-8 stay as Python writes them in file names."""
    content = read_bounded(file, MAX_LIST_BYTES)
    if content.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in content:
        raise KdistillError(f"the list {str(file)!r} is no UTF-8 text (UTF-16, by its bytes); save it as UTF-8")
    return content.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")


def _check_path(place: str, root: Path, name: str) -> None:
    if name.isascii() and not name.startswith("/") and not any(part in name for part in ("..", "\\", ":")):
        return  # nearly all names, in a tenth of the time that their parts take
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise KdistillError(f"{place}: {name!r} leads out of the folder {str(root)!r}")
    # Here a backslash and a colon are letters like any other, so files may well have such names.
    windows = "\\" in name or PureWindowsPath(name).drive
    if windows and os.name != "nt" and not os.path.lexists(root / name):
        wanted = PureWindowsPath(name).as_posix()
        raise KdistillError(
            f"{place}: {name!r} is a path as Windows writes it; write it relative to {str(root)!r}, "
            f"with forward slashes, such as {wanted.removeprefix(PureWindowsPath(name).anchor.replace(chr(92), '/'))!r}"
        )
    if not name.isascii() and any("\ud800" <= char <= "\udfff" for char in name) and not os.path.lexists(root / name):
        raise KdistillError(f"{place}: {name!r} is no UTF-8, and no file has this name; save the list as UTF-8")
