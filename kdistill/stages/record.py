"""The record of a run: which stages are done, what each was made from, and the figures that it gave.

`stages.json` holds an entry for each finished stage: the settings that decide its result, those that it was given
besides, the digests of what it read, the files that it made, the version, its figures. `metrics.json` shows the figures
of all stages that are done, and of no others: a stage that has to run again takes its figures with it, and so do all
that follow it. `flags.txt` states the settings of what is done.
"""

import dataclasses
import datetime
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from absl import logging

from kdistill.errors import ArgumentError
from kdistill.files.whole import read_json_object, sha256_of, write_json, write_whole
from kdistill.settings import Settings
from kdistill.settings.flagfile import flag_lines
from kdistill.stages.entries import FORMAT, about_file, change_of, merged, read_entries
from kdistill.stages.opening.inputs import Inputs
from kdistill.stages.stage import Registry, Result, Stage
from kdistill.version import __version__


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
            change = change_of(self.folder / name, about)
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
            if name not in stage.continues or change_of(self.folder / name, about):
                (self.folder / name).unlink(missing_ok=True)
        self.write_figures()

    def remove(self, stage: Stage) -> None:
        """Removes the files that a stage made, where it made some; without any, nothing is undone."""
        if stage.name in self._entries or stage.name in self._left:
            self.begin(stage)

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
        made = {path.relative_to(self.folder).as_posix(): about_file(path) for path in result.made}
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
        done = merged(entries, ("besides", "settings"))
        lines = ["# python main.py --flagfile=flags.txt runs this again.", *flag_lines(settings.changed(**done))]
        write_whole(self.folder / "flags.txt", ("\n".join(lines) + "\n").encode("utf-8", "surrogateescape"))


def refuse(stage: Stage, folder: Path, difference: Difference) -> ArgumentError:
    """Returns the error for a stage that was run with something else than what is wanted now."""
    sentence = f"the stage {stage.name!r} of {folder} {difference.reason}"
    if not difference.by_setting:
        return ArgumentError(f"{sentence}; run it again, too (--stages={stage.name},...)")
    return ArgumentError(
        f"{sentence}; name another --workdir, or run it again with --redo (answers already paid for are kept)"
    )


def _shown(values: Mapping[str, Any], name: str) -> str:
    value = values.get(name)
    if name not in values:
        return "(no effect)"
    return ",".join(map(str, value)) if isinstance(value, list) else "" if value is None else str(value)
