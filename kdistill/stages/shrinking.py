"""A student that shrinks, as a part of the stage `distill`."""

from typing import Any

from kdistill.settings import Settings


def shrinks(settings: Settings) -> bool:
    """Says whether the student has a target to shrink to."""
    return bool(settings.compaction.target_flops or settings.compaction.target_params)


def shrink(*arguments: Any) -> Any:
    """Placeholder."""
    raise NotImplementedError
