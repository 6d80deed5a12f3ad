"""The text of `--loss_options`."""

import json
from typing import Any

from kdistill.errors import ArgumentError


def parse_loss_options(text: str) -> dict[str, Any]:
    """Reads `name=value,name=value`; values are numbers, true, false, or words.

    Raises:
        ArgumentError: a part without an equals sign, or a name that stands twice.
    """
    options: dict[str, Any] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = part.partition("=")
        name, value = name.strip(), value.strip()
        if not equals or not name:
            raise ArgumentError(f"--loss_options takes name=value,name=value; found {part!r}")
        if name in options:
            raise ArgumentError(f"--loss_options gives {name!r} twice")
        try:
            options[name] = json.loads(value)
        except ValueError:
            options[name] = value
    return options
