"""The settings that a run trains with: its own, or those that the stage `tune` chose."""

from collections.abc import Mapping
from typing import Any

from kdistill.files.whole import read_json_object
from kdistill.settings import Settings
from kdistill.stages.workdir import Workdir


def tuned(settings: Settings, workdir: Workdir) -> Settings:
    """Returns the settings with the changes that `tuned.json` holds, where the run is tuned.

    Raises:
        ArgumentError: it is to be tuned and was not yet.
    """
    if not settings.training.tune:
        return settings
    return settings.changed(tune=0, **read_json_object(workdir.needs(workdir.tuned, "tune"))["chosen"])


def told(change: Mapping[str, Any]) -> str:
    """Returns changes of settings in words."""
    return ", ".join(f"--{name}={'' if value is None else value}" for name, value in change.items()) or "the run's own"
