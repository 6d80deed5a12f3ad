"""The file of a run's record, `stages.json`: reading it, and letting our own commands change what it speaks of."""

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from kdistill.errors import KdistillError
from kdistill.files.whole import read_json_object, sha256_of, write_json
from kdistill.settings import FIELDS, Settings

FORMAT = 2


def settings_of(workdir: str | Path) -> Settings:
    """Returns the settings that the finished stages of a run were made with (later stages win).

    Raises:
        KdistillError: there is no record, or it is damaged.
    """
    if not (Path(workdir) / "stages.json").is_file():
        raise KdistillError(f"{workdir} holds no stages.json, the record of a run; give the work folder of a run")
    return Settings.of(**merged(read_entries(Path(workdir)).values(), ("besides", "settings")))


def read_entries(workdir: Path) -> dict[str, dict[str, Any]]:
    """Returns the entry of each finished stage by name.

    Raises:
        KdistillError: the record is damaged.
    """
    file = workdir / "stages.json"
    content = read_json_object(file)
    if "format" not in content:  # before this format an entry held settings alone
        content = {"format": FORMAT, "stages": {name: _old(entry) for name, entry in content.items()}}
    entries: Any = content.get("stages")
    kinds: Mapping[str, type] = {"settings": dict, "inputs": dict, "made": dict, "figures": dict}
    sound = content["format"] == FORMAT and isinstance(entries, dict)
    left = content.get("left", {})
    sound = sound and isinstance(left, dict) and all(_is_made(files) for files in left.values())
    if not sound or not all(
        isinstance(entry, dict)
        and all(isinstance(entry.get(name), kind) for name, kind in kinds.items())
        and isinstance(entry.get("besides", {}), dict)
        and _is_made(entry["made"])
        for entry in entries.values()
    ):
        raise KdistillError(f"{file} is not a record of stages; restore it or delete it")
    return entries


def check_read(workdir: Path, stage: str, file: str) -> None:
    """Checks that a stage is done and that it read a file of the work folder as it is now.

    Raises:
        KdistillError: it is not, or the record is damaged.
    """
    entry = read_entries(workdir).get(stage)
    if entry is None:
        raise KdistillError(f"the stage {stage!r} of {workdir} is not done; run it first (--stages={stage})")
    # Records of an earlier form do not say what was read.
    if entry["inputs"] and entry["inputs"].get(file) != sha256_of(workdir / file)[:16]:
        raise KdistillError(f"the stage {stage!r} of {workdir} was run before {file} changed; run it again")


@contextlib.contextmanager
def changing(workdir: Path, file: str) -> Iterator[None]:
    """Lets a command of ours change a file that a stage made: what made it and what read it stay done.

    A file that somebody else changed before stays one that has to be made again.
    """
    path, record = workdir / file, workdir / "stages.json"
    makers = [name for name, entry in read_entries(workdir).items() if file in entry["made"]]
    ours = [name for name in makers if not change_of(path, read_entries(workdir)[name]["made"][file])]
    yield
    if not ours or not path.is_file() or not os.access(workdir, os.W_OK):
        return
    content = read_json_object(record)
    for entry in content["stages"].values():
        for part, now in (("made", about_file(path)), ("inputs", sha256_of(path)[:16])):
            if file in entry[part]:
                entry[part][file] = now
    write_json(record, content)


def merged(entries: Iterable[Mapping[str, Any]], parts: Sequence[str]) -> dict[str, Any]:
    """Returns the settings that stand in these parts of entries; later parts and entries win."""
    merged: dict[str, Any] = {}
    for part in parts:
        for entry in entries:
            merged |= entry.get(part, {})
    plain = {name: value for name, value in merged.items() if name in FIELDS}
    return {name: tuple(value) if isinstance(value, list) else value for name, value in plain.items()}


def _old(entry: Any) -> Any:
    return {**entry, "inputs": {}, "made": {}, "figures": {}} if isinstance(entry, dict) else entry


def _is_made(files: Any) -> bool:
    return isinstance(files, dict) and all(isinstance(about, list) and about for about in files.values())


def about_file(path: Path) -> list[Any]:
    return [*_state(path), sha256_of(path)]


def _state(path: Path) -> list[int]:
    """Returns what changes with a file's content, whatever its times were set to."""
    about = path.stat()
    return [about.st_size, about.st_mtime_ns, about.st_ctime_ns, about.st_ino]


def change_of(path: Path, about: list[Any]) -> str:
    """Returns what happened to a file since; large ones are read only when size or times say that something did."""
    if not path.is_file():
        return "is gone"
    return "" if _state(path) == about[:-1] or sha256_of(path) == about[-1] else "was changed since"
