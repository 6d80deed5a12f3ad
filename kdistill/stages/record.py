"""The record of a run: which stages are done, what each was made from, and the figures that it gave.

`stages.json` holds an entry for each finished stage: the settings that decide its result, those that it was given
besides, the digests of what it read, the files that it made, the version, its figures. `metrics.json` shows the figures
of all stages that are done, and of no others: a stage that has to run again takes its figures with it, and so do all
that follow it. `flags.txt` states the settings of what is done.
"""

import contextlib
import dataclasses
import datetime
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import logging

from kdistill.errors import ArgumentError, KdistillError
from kdistill.files.whole import read_json_object, sha256_of, write_json, write_whole
from kdistill.settings import FIELDS, Settings
from kdistill.settings.flagfile import flag_lines
from kdistill.stages.inputs import Inputs
from kdistill.stages.stage import Registry, Result, Stage
from kdistill.version import __version__

FORMAT = 2


@dataclasses.dataclass(frozen=True)
class Difference:
    """Why a finished stage is not that of the present run.

    Attributes:
        reason: in a sentence without its end.
        by_setting: whether the user said so, by a setting or a version; otherwise something on the disk changed.
    """

    reason: str
    by_setting: bool


class Record:
    """What is known of the stages of one work folder."""

    def __init__(self, folder: Path, registry: Registry) -> None:
        """Reads the record, which need not exist.

        Raises:
            KdistillError: it is damaged.
        """
        self.folder, self.registry = folder, registry
        self._entries = read_entries(folder)
        # stage -> files that it made before it was undone
        self._left: dict[str, dict[str, list[Any]]] = read_json_object(folder / "stages.json").get("left", {})

    def is_done(self, stage: Stage) -> bool:
        """Says whether a stage was finished, with whatever settings."""
        return stage.name in self._entries

    def difference(self, stage: Stage, settings: Settings, inputs: Inputs) -> Difference | None:
        """Says what differs between a finished stage and what it would be made from now; None where nothing does.

        Raises:
            ArgumentError, KdistillError: what the settings name is not there.
        """
        entry = self._entries[stage.name]
        version = entry.get("version")
        if version != __version__:
            made = f"by version {version}" if version else "by an older version"
            return Difference(f"was run {made}, not {__version__}", True)
        deciding, then = stage.deciding(settings), entry["settings"]
        for name in [*deciding, *(name for name in then if name not in deciding)]:
            if deciding.get(name) != then.get(name):
                old, new = (_shown(values, name) for values in (then, deciding))
                return Difference(f"was run with --{name}={old}, not {new}", True)
        for name, digest in entry["inputs"].items():
            now = self._now(stage, name, inputs)
            if now != digest:
                change = f"{name} changed" if name in stage.reads else inputs.difference(name, digest)
                return Difference(f"was run before {change}", False)
        for name, about in entry["made"].items():
            change = _change_of(self.folder / name, about)
            if change:
                return Difference(f"made {name}, which {change}", False)
        return None

    def begin(self, stage: Stage) -> None:
        """Forgets a stage and all that follow it, on the disk before anything else happens, and removes its files.

        Files of what follows stay, as nobody's, until their own stage begins.
        """
        followers = [other.name for other in self.registry.after(stage.name) if other.name in self._entries]
        if followers:
            logging.info("%s: what follows has to run again: %s", stage.name, ", ".join(followers))
        for name in (stage.name, *followers):
            if name in self._entries:
                self._left[name] = self._left.get(name, {}) | self._entries.pop(name)["made"]
        self.write_figures()
        for name, about in self._left.pop(stage.name, {}).items():
            # What a stage goes on from stays, unless somebody else changed it.
            if name not in stage.continues or _change_of(self.folder / name, about):
                (self.folder / name).unlink(missing_ok=True)
        self.write_figures()

    def inputs_of(self, stage: Stage, inputs: Inputs) -> dict[str, str]:
        """Returns the digest of everything that a stage reads; taken before it runs, so that later changes show."""
        reads = self.registry.reads(stage, inputs.settings)
        return {name: self._now(stage, name, inputs) for name in (*stage.inputs, *reads)}

    def leave_out(self, stage: Stage, settings: Settings) -> None:
        """Forgets the finished stages before this one that these settings have no use for."""
        for other in self.registry.before(stage.name):
            if self.is_done(other) and not other.needed(settings):
                self.begin(other)

    def finish(self, stage: Stage, settings: Settings, read: Mapping[str, str], result: Result) -> None:
        """Writes down that a stage is done, what it was made from (`read`: of `inputs_of`), and its figures."""
        made = {path.relative_to(self.folder).as_posix(): _about(path) for path in result.made}
        self._entries[stage.name] = {
            "version": __version__,
            "settings": stage.deciding(settings),
            "besides": stage.besides(settings),
            "inputs": dict(read),
            "made": made,
            "figures": dict(result.figures),
            "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        }
        self.write_figures()

    def figures(self) -> dict[str, Any]:
        """Returns the figures of all stages that are done; where two stages give one, the later one's counts."""
        found: dict[str, Any] = {}
        for stage in self.registry:
            found |= self._entries.get(stage.name, {}).get("figures", {})
        return found

    def _now(self, stage: Stage, name: str, inputs: Inputs) -> str:
        if name in stage.reads:
            path = self.folder / name
            return sha256_of(path)[:16] if path.is_file() else ""
        return inputs.digest(name)

    def write_figures(self) -> None:
        """Writes the record, and `metrics.json` by it: also where an interrupted run left another one, or none."""
        write_json(self.folder / "stages.json", {"format": FORMAT, "stages": self._entries, "left": self._left})
        write_json(self.folder / "metrics.json", self.figures())

    def write_flags(self, settings: Settings) -> None:
        """Writes the flagfile that reproduces the run: `settings`, and what stages that are done were made with.

        So a run that finds its stages done, with other settings for what follows them, does not restate its figures.
        """
        entries = [entry for entry in self._entries.values() if entry.get("version") == __version__]
        done = _merged(entries, ("besides", "settings"))
        lines = ["# python main.py --flagfile=flags.txt runs this again.", *flag_lines(settings.changed(**done))]
        write_whole(self.folder / "flags.txt", ("\n".join(lines) + "\n").encode("utf-8", "surrogateescape"))


def settings_of(workdir: str | Path) -> Settings:
    """Returns the settings that the finished stages of a run were made with (later stages win).

    Raises:
        KdistillError: there is no record, or it is damaged.
    """
    if not (Path(workdir) / "stages.json").is_file():
        raise KdistillError(f"{workdir} holds no stages.json, the record of a run; give the work folder of a run")
    return Settings.of(**_merged(read_entries(Path(workdir)).values(), ("besides", "settings")))


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
    ours = [name for name in makers if not _change_of(path, read_entries(workdir)[name]["made"][file])]
    yield
    if not ours or not path.is_file() or not os.access(workdir, os.W_OK):
        return
    content = read_json_object(record)
    for entry in content["stages"].values():
        for part, now in (("made", _about(path)), ("inputs", sha256_of(path)[:16])):
            if file in entry[part]:
                entry[part][file] = now
    write_json(record, content)


def refuse(stage: Stage, folder: Path, difference: Difference) -> ArgumentError:
    """Returns the error for a stage that was run with something else than what is wanted now."""
    sentence = f"the stage {stage.name!r} of {folder} {difference.reason}"
    if not difference.by_setting:
        return ArgumentError(f"{sentence}; run it again, too (--stages={stage.name},...)")
    return ArgumentError(
        f"{sentence}; name another --workdir, or run it again with --redo (answers already paid for are kept)"
    )


def _merged(entries: Iterable[Mapping[str, Any]], parts: Sequence[str]) -> dict[str, Any]:
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


def _about(path: Path) -> list[Any]:
    return [*_state(path), sha256_of(path)]


def _state(path: Path) -> list[int]:
    """Returns what changes with a file's content, whatever its times were set to."""
    about = path.stat()
    return [about.st_size, about.st_mtime_ns, about.st_ctime_ns, about.st_ino]


def _change_of(path: Path, about: list[Any]) -> str:
    """Returns what happened to a file since; large ones are read only when size or times say that something did."""
    if not path.is_file():
        return "is gone"
    return "" if _state(path) == about[:-1] or sha256_of(path) == about[-1] else "was changed since"


def _shown(values: Mapping[str, Any], name: str) -> str:
    value = values.get(name)
    if name not in values:
        return "(no effect)"
    return ",".join(map(str, value)) if isinstance(value, list) else "" if value is None else str(value)
