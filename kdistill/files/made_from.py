"""What a file or a folder was made from, kept beside it, so that nothing is taken up that belongs to other settings."""

import dataclasses
import fnmatch
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from kdistill.errors import ArgumentError, KdistillError
from kdistill.files.whole import read_bounded, write_json

_LIMIT = 64 * 2**20
_ABSENT = object()


@dataclasses.dataclass(frozen=True)
class Difference:
    """The first entry in which two identities differ, as text; as a string, half a sentence for a log."""

    name: str
    then: str
    now: str

    def __str__(self) -> str:
        """Returns "`name` was `then` and is `now`"; an identity that is missing or unreadable has no name."""
        if not self.name:
            return f"{self.then}, {self.now}"
        return f"{self.name} was {self.then} and is {self.now}"


def sidecar(path: Path | str) -> Path:
    """Returns where the identity stands: `NAME.made.json` beside a file, `made.json` inside a folder."""
    path = Path(path)
    return path / "made.json" if path.is_dir() else path.with_name(f"{path.name}.made.json")


def matches(path: Path | str, identity: Mapping[str, Any]) -> Difference | None:
    """Returns None where `path` exists and was made from this, or what differs.

    Entries are compared in the order of `identity`, mappings in it entry by entry (`settings.steps`); tuples are lists.

    Args:
        path: a file or a folder.
        identity: what JSON can hold: settings, digests of inputs, a version.

    Raises:
        ArgumentError: an identity that JSON cannot hold.
    """
    now = _plain(identity)
    path = Path(path)
    if not path.exists():
        return Difference("", f"{path.name} does not exist", "so it is made")
    try:
        then = json.loads(read_bounded(sidecar(path), _LIMIT))
    except (KdistillError, ValueError, RecursionError):
        then = None
    if not isinstance(then, dict):
        return Difference("", f"{path.name} does not say what it was made from", "so it is made again")
    before, after = dict(_entries(then)), dict(_entries(now))
    for name in [*after, *(name for name in before if name not in after)]:
        old, new = before.get(name, _ABSENT), after.get(name, _ABSENT)
        if not _same(old, new):
            return Difference(name, _shown(old), _shown(new))
    return None


def write(path: Path | str, identity: Mapping[str, Any]) -> None:
    """Keeps what `path` was made from; for a file after it was written, for a folder before anything else is in it.

    In that order an interruption leaves something that is made again, never something that passes for what it is not.

    Raises:
        ArgumentError: an identity that JSON cannot hold.
        KdistillError: the folder cannot be written or the disk is full.
    """
    write_json(sidecar(path), _plain(identity))


def claim(folder: Path | str, identity: Mapping[str, Any], *, ours: Sequence[str] = ()) -> Difference | None:
    """Makes `folder` one of this identity: keeps what is in it where that matches, and empties it where it does not.

    Args:
        folder: made where it is not there.
        identity: what JSON can hold.
        ours: names, or patterns as `ckpt-*`, of what may be removed from a folder that has no identity at all: it may
            be somebody's own.

    Returns:
        What differs, where something was removed; None where all was kept or nothing was there.

    Raises:
        ArgumentError: an identity that JSON cannot hold.
        KdistillError: the folder cannot be written or emptied, or holds something else and has no identity.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        difference = matches(folder, identity)
        if difference is None:
            return None
        present = sorted(folder.iterdir())
        foreign = [file.name for file in present if not any(fnmatch.fnmatch(file.name, name) for name in ours)]
        if foreign and not sidecar(folder).exists():
            raise KdistillError(f"{folder} holds {foreign[0]!r}, which is not ours to remove; name another folder")
        # The identity goes last: a folder that is half empty must not pass for a whole one.
        present.sort(key=lambda file: file == sidecar(folder))
        for file in present:
            if file.is_dir() and not file.is_symlink():
                shutil.rmtree(file)
            else:
                file.unlink()
    except OSError as error:
        raise KdistillError(f"{folder} cannot be written: {error.strerror or error}") from error
    write(folder, identity)
    return difference if present else None


def _plain(identity: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return dict(json.loads(json.dumps(dict(identity))))
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"what something is made from is named by what JSON can hold: {error}") from error


def _entries(mapping: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in mapping.items():
        if isinstance(value, dict) and value:
            yield from _entries(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _same(old: Any, new: Any) -> bool:
    if old is _ABSENT or new is _ABSENT:
        return old is new
    # The text tells true from 1 and takes NaN for itself; 1 and 1.0 are the same setting.
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in (old, new))
    return json.dumps(old, sort_keys=True) == json.dumps(new, sort_keys=True) or (numbers and old == new)


def _shown(value: Any) -> str:
    if value is _ABSENT:
        return "absent"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else text[:77] + "..."
