"""Which files below a folder are images: hidden ones are left out, links are followed, what is left out is told.

The order and the names are those of a plain sorted listing, so that a folder without any such thing reads as ever.
"""

import os
import stat
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from absl import logging

SUFFIXES = (".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")

FOREIGN_SUFFIXES = (".avif", ".cr2", ".cr3", ".dng", ".heic", ".heif", ".jp2", ".jxl", ".nef", ".arw", ".psd", ".raf")
"""Photos by their names that cannot be decoded here."""

SYSTEM_NAMES = frozenset(
    (
        "#recycle",
        "#snapshot",
        "$recycle.bin",
        "@eadir",
        "@recently-snapshot",
        "@recycle",
        "@tmp",
        "__macosx",
        "lost+found",
        "system volume information",
    )
)
"""What operating systems, file servers and archivers put beside photos, in lower case."""


def is_hidden(name: str) -> bool:
    """Returns whether a file or folder of this name is no part of the data: `.x`, `._x.jpg`, `@eaDir`, `__MACOSX`."""
    return name.startswith(".") or name.lower() in SYSTEM_NAMES


def image_paths(root: Path) -> tuple[list[Path], str]:
    """Returns the sorted images below a folder, at any depth, and what was left out in words ("" for nothing).

    A link to a folder is followed, each real folder once: a plain sub-folder goes before a link to it, and a link to a
    folder that holds `root` is not followed. Whatever was left out although it has the name of an image, and links and
    folders that lead nowhere, are logged in one line.
    """
    walk = _Walk(root)
    walk.folder(root)
    while walk.links:
        walk.links.sort()
        walk.follow(walk.links.pop(0))
    left_out = walk.left_out()
    if left_out:
        logging.warning("%s: left out %s", ascii(str(root)), left_out)
    return sorted(walk.found), left_out


class _Walk:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.found: list[Path] = []
        self.links: list[Path] = []
        self._counts: Counter[str] = Counter()
        self._first: dict[str, Path] = {}
        self._seen: set[tuple[int, int]] = set()
        self._above = {_identity(folder) for folder in Path(os.path.realpath(root)).parents}

    def folder(self, folder: Path) -> None:
        """Takes the images of one folder and of the plain folders below it; notes links to folders for later."""
        waiting = [folder]
        while waiting:
            folder = waiting.pop()
            try:
                entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
            except OSError:
                self._leave_out("folders that cannot be opened", folder)
                continue
            identity = _identity(folder)
            if identity in self._seen:
                continue
            self._seen.add(identity)
            waiting += [path for path in (self._entry(folder, entry) for entry in entries) if path is not None]

    def follow(self, link: Path) -> None:
        """Walks through a link to a folder, unless that was walked through or holds the root."""
        identity = _identity(link)
        if identity in self._above or identity in self._seen:
            self._leave_out("links to folders that were read already or hold this one", link)
        else:
            self.folder(link)

    def left_out(self) -> str:
        """Returns how many of each kind, with the first name of each."""
        return ", ".join(
            f"{what} ({number:,}, the first {self._first[what].relative_to(self.root).as_posix()!a})"
            for what, number in self._counts.items()
        )

    def _entry(self, folder: Path, entry: os.DirEntry) -> Path | None:
        """Files one name of a folder; returns it when it is a folder to look into."""
        path = folder / entry.name
        suffix = path.suffix.lower().rstrip()
        if is_hidden(entry.name):
            for image in _images_in(path):
                self._leave_out("images in hidden or system files and folders", image)
            return None
        try:
            mode = entry.stat().st_mode
        except OSError:
            if entry.is_symlink():
                self._leave_out("links that lead nowhere", path)
            return None
        if stat.S_ISDIR(mode):
            if not entry.is_symlink():
                return path
            self.links.append(path)
        elif suffix in FOREIGN_SUFFIXES:
            self._leave_out(f"{suffix} files, which are not read here and can be converted to JPEG", path)
        elif suffix in SUFFIXES and stat.S_ISREG(mode):
            self.found.append(path)
        return None

    def _leave_out(self, what: str, path: Path) -> None:
        self._counts[what] += 1
        self._first.setdefault(what, path)


def _identity(folder: Path) -> tuple[int, int]:
    """Returns what a folder has in common with all links to it; nothing in common for one that cannot be asked."""
    try:
        about = os.stat(folder)
    except OSError:
        return -1, id(folder)
    return about.st_dev, about.st_ino


def _images_in(path: Path) -> Iterable[Path]:
    """Yields what has the name of an image at or below a hidden path; links are not followed."""
    if path.is_dir() and not path.is_symlink():
        for folder, _, names in os.walk(path):
            yield from (Path(folder) / name for name in sorted(names) if Path(name).suffix.lower() in SUFFIXES)
    elif path.suffix.lower() in SUFFIXES:
        yield path
