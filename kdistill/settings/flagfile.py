"""Settings as lines of a flagfile."""

from typing import Any

from kdistill.settings.effects import without_effect
from kdistill.settings.setting import Values, values_of
from kdistill.settings.settings import FIELDS, GROUP_OF, Settings, groups


def flag_lines(settings: Settings) -> list[str]:
    """Returns `--name=value` for every setting that has an effect; no secret stands in them."""
    idle = without_effect(settings)
    lines = []
    for name in FIELDS:
        value = settings.value(name)
        # A number that is left out has no text.
        if name not in idle and not (value is None and _taken(name).item is not str):
            lines.append(f"--{name}={_text(name, value)}")
    return lines


def _text(name: str, value: Any) -> str:
    if name == "ledger" and value is not None:
        from kdistill.teachers.ledger.addresses import without_secrets  # takes a while to import

        value = without_secrets(value)
    return ",".join(map(str, value)) if isinstance(value, tuple) else "" if value is None else str(value)


def _taken(name: str) -> Values:
    return values_of(dict(groups())[GROUP_OF[name]], name)
