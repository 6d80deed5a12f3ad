"""Files that are either whole or absent: written beside their final name, then renamed."""

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from kdistill.errors import KdistillError


@contextlib.contextmanager
def whole_file(path: Path | str) -> Iterator[Path]:
    """Yields a temporary path in the same folder, of the same suffix; it becomes `path` only when the block ends well.

    Raises:
        KdistillError: the folder cannot be written or the disk is full.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise KdistillError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def sha256_of(path: Path | str) -> str:
    """Returns the sha256 (hex) of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_whole(path: Path, content: str | bytes) -> None:
    """Writes a file so that readers see the old content or the new one, never a part.

    Raises:
        KdistillError: the folder cannot be written or the disk is full.
    """
    with whole_file(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)
