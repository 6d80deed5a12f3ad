"""The settings of a run: a frozen dataclass for each group, with help, choices and bounds beside each field."""

from kdistill.settings.settings import FIELDS, GROUP_OF, Settings, groups

__all__ = ["FIELDS", "GROUP_OF", "Settings", "groups"]
