"""Images named by list files: one relative path a line, optionally followed by class labels."""

from pathlib import Path

import numpy as np

from kdistill.data.images import Image, ImageSet
from kdistill.data.retrieval_data import RetrievalData
from kdistill.errors import KdistillError
from kdistill.files.whole import read_bounded

MAX_LIST_BYTES = 64 << 20
"""A longer list is refused: it would take a gigabyte as names in memory."""


def read_list(data_dir: str | Path, name: str, *, labelled: bool) -> ImageSet:
    """Reads DIR/NAME: lines of `path` or `path, label[, coarser labels]`; blank lines are passed over.

    The id of an image is its path as written. Labels are integers; the first one counts.

    Raises:
        KdistillError: a missing or empty list, a line without its label, or a path that leaves the folder.
    """
    root = Path(data_dir)
    file = root / name
    try:
        lines = read_bounded(file, MAX_LIST_BYTES).decode("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise KdistillError(f"the list {str(file)!r} cannot be read: {error}") from error
    images, labels = [], []
    for number, line in enumerate(lines, 1):
        fields = [field.strip() for field in line.split(",")]
        if not fields[0]:
            continue
        if Path(fields[0]).is_absolute() or ".." in Path(fields[0]).parts:
            raise KdistillError(f"{file}, line {number}: {fields[0]!r} leads out of the folder {str(root)!r}")
        images.append(Image(fields[0], path=root / fields[0]))
        if labelled:
            try:
                labels.append(int(np.int64(int(fields[1]))))
            except (IndexError, ValueError, OverflowError):
                raise KdistillError(f"{file}, line {number}: expected 'path, label', found {line!r}") from None
    if not images:
        raise KdistillError(f"the list {str(file)!r} names no image")
    return ImageSet(images, labels if labelled else None)


def list_data(
    data_dir: str | Path,
    *,
    pool_file: str = "pool.txt",
    gallery_file: str = "test.txt",
    query_file: str | None = None,
    val_file: str | None = None,
) -> RetrievalData:
    """Returns the images of DIR in the roles that list files give them (the pool's labels, if any, are not read).

    Raises:
        KdistillError: a missing folder or list, or a malformed line.
    """
    root = Path(data_dir)
    if not root.is_dir():
        raise KdistillError(f"the data folder {str(root)!r} does not exist; name it with --data_dir")
    return RetrievalData(
        root.name,
        read_list(root, pool_file, labelled=False),
        read_list(root, gallery_file, labelled=True),
        read_list(root, query_file, labelled=True) if query_file else None,
        validation=read_list(root, val_file, labelled=True) if val_file else None,
    )
