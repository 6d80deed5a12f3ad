"""What a stage is, and the registry that everything about stages is read from."""

import dataclasses
import difflib
import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from kdistill.console.quiet import quiet
from kdistill.errors import ArgumentError
from kdistill.settings import FIELDS, GROUP_OF, Settings
from kdistill.settings.effects import without_effect


@dataclasses.dataclass(frozen=True)
class Result:
    """What a stage leaves.

    Attributes:
        figures: entries of `metrics.json`, as JSON knows them.
        made: the files that it wrote.
    """

    figures: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    made: Sequence[Path] = ()


@dataclasses.dataclass(frozen=True)
class Stage:
    """One part of a run.

    Attributes:
        name: as `--stages` takes it.
        about: what it does, in a sentence.
        run: "package.module:function" of a function (Settings, Workdir) -> Result, imported when the stage runs.
        groups: the groups of settings that its result depends on, beside those of the stages that it follows.
        inputs: names of what it reads from outside the work folder (`kdistill.stages.opening.inputs.INPUTS`).
        reads: files of the work folder that it needs, each made by a stage that it follows.
        makes: files of the work folder that it makes; what is made besides stands in its Result.
        continues: those of its files that an interrupted stage goes on from; they stay when it runs again.
        follows: stages whose results it shows or builds on: when one of them runs again, this one must, too.
        default: whether it runs without `--stages`.
        settings: single settings that its result depends on beside the groups.
        ignores: settings -> names among the groups that decide nothing for this stage as things stand.
        needed: settings -> whether the stage has anything to do; one that has not is left out.
        hands_on: whether what it makes is for use elsewhere: not for a student that distillation did not make better.
    """

    name: str
    about: str
    run: str
    groups: tuple[str, ...]
    follows: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    makes: tuple[str, ...] = ()
    continues: tuple[str, ...] = ()
    default: bool = True
    settings: tuple[str, ...] = ()
    ignores: Callable[[Settings], frozenset[str]] = lambda settings: frozenset()
    needed: Callable[[Settings], bool] = lambda settings: True
    hands_on: bool = False

    def function(self) -> Callable[..., Result]:
        """Imports and returns what `run` names; quietly, since start-up notices of libraries are no news to a user."""
        module, _, name = self.run.partition(":")
        with quiet():
            return getattr(importlib.import_module(module), name)

    def deciding(self, settings: Settings) -> dict[str, Any]:
        """Returns the values that this stage's own result depends on, by name, as JSON knows them."""
        return {name: value for name, value in self._values(settings) if self._decides(name)}

    def besides(self, settings: Settings) -> dict[str, Any]:
        """Returns the other values that this stage was given: they decide nothing, yet its figures tell of them."""
        return {name: value for name, value in self._values(settings) if not self._decides(name)}

    def _values(self, settings: Settings) -> Iterator[tuple[str, Any]]:
        idle = without_effect(settings).keys() | self.ignores(settings)
        for name, group in GROUP_OF.items():
            if (group in self.groups or name in self.settings) and name not in idle:
                yield name, _plain(name, settings.value(name))

    def _decides(self, name: str) -> bool:
        return bool(FIELDS[name].metadata["decides"]) or name in self.settings


class Registry:
    """All stages, each after those that it follows."""

    def __init__(self, stages: Sequence[Stage]) -> None:
        """Sorts the stages; of several that could come next, the one that was given first does."""
        names = {stage.name for stage in stages}
        left, self._stages = list(stages), dict[str, Stage]()
        while left:
            # What follows a stage that is not there (a library without exports) follows nothing.
            ready = next(one for one in left if all(name in self._stages or name not in names for name in one.follows))
            self._stages[ready.name] = ready
            left.remove(ready)

    def __iter__(self) -> Iterator[Stage]:
        return iter(self._stages.values())

    def __getitem__(self, name: str) -> Stage:
        """Returns the stage of that name.

        Raises:
            ArgumentError: there is none.
        """
        if name not in self._stages:
            close = difflib.get_close_matches(name, self._stages, 1)
            hint = f"; did you mean {close[0]!r}?" if close else f"; choose of {', '.join(self._stages)}"
            raise ArgumentError(f"there is no stage {name!r}{hint}")
        return self._stages[name]

    @property
    def names(self) -> tuple[str, ...]:
        """All names, in the order in which stages run."""
        return tuple(self._stages)

    @property
    def defaults(self) -> tuple[str, ...]:
        """The names of what runs without `--stages`."""
        return tuple(stage.name for stage in self if stage.default)

    def before(self, name: str) -> list[Stage]:
        """Returns the stages that a stage follows, directly or through others, in order."""
        wanted = set(self[name].follows)
        for stage in reversed(list(self)):
            if stage.name in wanted:
                wanted |= set(stage.follows)
        return [stage for stage in self if stage.name in wanted]

    def after(self, name: str) -> list[Stage]:
        """Returns the stages that follow a stage, directly or through others, in order."""
        return [stage for stage in self if self[name] in self.before(stage.name)]

    def reads(self, stage: Stage, settings: Settings) -> tuple[str, ...]:
        """Returns the files of the work folder that a stage needs; those of stages that are left out do not count."""
        return tuple(file for file in stage.reads if self.maker(file).needed(settings))

    def maker(self, file: str) -> Stage:
        """Returns the stage that makes a file of the work folder."""
        return next(stage for stage in self if file in stage.makes)


def _plain(name: str, value: Any) -> Any:
    if name == "ledger" and value is not None:
        from kdistill.teachers.ledger.addresses import without_secrets  # takes a while to import

        return without_secrets(value)
    return list(value) if isinstance(value, tuple) else value
