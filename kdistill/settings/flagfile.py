"""Settings as lines of a flagfile."""

from typing import Any

from kdistill.settings.effects import without_effect
from kdistill.settings.settings import FIELDS, Settings


def flag_lines(settings: Settings) -> list[str]:
    """Returns `--name=value` for every setting that has an effect; no secret stands in them."""
    idle = without_effect(settings)
    return [f"--{name}={_text(name, settings.value(name))}" for name in FIELDS if name not in idle]


def _text(name: str, value: Any) -> str:
    if name == "ledger" and value is not None:
        from kdistill.teachers.ledger.locations import without_secrets  # takes a while to import

        value = without_secrets(value)
    return ",".join(map(str, value)) if isinstance(value, tuple) else "" if value is None else str(value)
