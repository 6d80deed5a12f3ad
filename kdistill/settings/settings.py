"""All settings of a run: one group for each part of the work."""

import dataclasses
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from kdistill.errors import ArgumentError
from kdistill.settings.groups.asking import AskingSettings
from kdistill.settings.groups.assistant import AssistantSettings
from kdistill.settings.groups.compaction import CompactionSettings
from kdistill.settings.groups.comparing import ComparingSettings
from kdistill.settings.groups.data import DataSettings
from kdistill.settings.groups.evaluation import EvaluationSettings
from kdistill.settings.groups.export import ExportSettings, MeasuringSettings
from kdistill.settings.groups.joint_space import JointSpaceSettings
from kdistill.settings.groups.run import RunSettings
from kdistill.settings.groups.space import SpaceSettings
from kdistill.settings.groups.student import StudentSettings
from kdistill.settings.groups.teacher import TeacherSettings
from kdistill.settings.groups.training import TrainingSettings
from kdistill.settings.setting import check_value


@dataclasses.dataclass(frozen=True)
class Settings:
    """The groups. A function takes the group that it needs; a name stands in one group only and is its flag's name."""

    run: RunSettings = dataclasses.field(default_factory=RunSettings)
    data: DataSettings = dataclasses.field(default_factory=DataSettings)
    teacher: TeacherSettings = dataclasses.field(default_factory=TeacherSettings)
    asking: AskingSettings = dataclasses.field(default_factory=AskingSettings)
    comparing: ComparingSettings = dataclasses.field(default_factory=ComparingSettings)
    assistant: AssistantSettings = dataclasses.field(default_factory=AssistantSettings)
    student: StudentSettings = dataclasses.field(default_factory=StudentSettings)
    space: SpaceSettings = dataclasses.field(default_factory=SpaceSettings)
    joint: JointSpaceSettings = dataclasses.field(default_factory=JointSpaceSettings)
    training: TrainingSettings = dataclasses.field(default_factory=TrainingSettings)
    compaction: CompactionSettings = dataclasses.field(default_factory=CompactionSettings)
    evaluation: EvaluationSettings = dataclasses.field(default_factory=EvaluationSettings)
    export: ExportSettings = dataclasses.field(default_factory=ExportSettings)
    measuring: MeasuringSettings = dataclasses.field(default_factory=MeasuringSettings)

    @classmethod
    def of(cls, **values: Any) -> "Settings":
        """Returns the settings with these values, named as the flags are, and defaults for all others.

        Raises:
            ArgumentError: a name that no setting has, or a value of another type or out of its bounds.
        """
        return cls().changed(**values)

    def changed(self, **values: Any) -> "Settings":
        """Returns the same settings with other values; see `of`."""
        for name, value in values.items():
            if name not in GROUP_OF:
                raise ArgumentError(f"there is no setting {name!r}")
            group = type(getattr(self, GROUP_OF[name]))
            check_value(group, FIELDS[name], value)
        groups: dict[str, dict[str, Any]] = {}
        for name, value in values.items():
            groups.setdefault(GROUP_OF[name], {})[name] = value
        new = {group: dataclasses.replace(getattr(self, group), **part) for group, part in groups.items()}
        return dataclasses.replace(self, **new)

    def value(self, name: str) -> Any:
        """Returns the value of the setting of that name, whatever its group."""
        return getattr(getattr(self, GROUP_OF[name]), name)

    def values(self) -> dict[str, Any]:
        """Returns all values by name, in the order of the groups."""
        return {name: self.value(name) for name in FIELDS}


def groups() -> Iterator[tuple[str, type]]:
    """Yields the name and the class of each group, in the order in which people meet them."""
    yield from typing.get_type_hints(Settings).items()


FIELDS: Mapping[str, "dataclasses.Field[Any]"] = {
    field.name: field for _, group in groups() for field in dataclasses.fields(group)
}
"""Every setting by its name, with help, bounds and choices in its metadata."""

GROUP_OF: Mapping[str, str] = {field.name: name for name, group in groups() for field in dataclasses.fields(group)}
"""The group that a setting stands in, by the setting's name."""
