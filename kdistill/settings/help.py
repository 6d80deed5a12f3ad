"""What `--help` and `--helpfull` show: the settings by group, made from their fields."""

import dataclasses
import textwrap
from collections.abc import Iterable

from kdistill.settings.setting import bounds_in_words, values_of
from kdistill.settings.settings import groups

_WIDTH = 100
_INDENT = 24


def help_text(own: Iterable[tuple[str, str]], *, everything: bool) -> str:
    """Returns the help.

    Args:
        own: (name, help) of flags that are no settings, shown first.
        everything: all settings, otherwise those that most runs need.
    """
    parts = [_entry(name, text) for name, text in own]
    for name, group in groups():
        fields = [field for field in dataclasses.fields(group) if everything or field.metadata["common"]]
        if fields:
            heading = str(group.__doc__).splitlines()[0].rstrip(".")
            parts.append(f"\n{name.replace('_', ' ')}: {heading[0].lower()}{heading[1:]}")
            parts += [_entry(field.name, _about(group, field)) for field in fields]
    if not everything:
        parts.append("\n--helpfull shows all settings; docs/settings.md lists them with their bounds.")
    return "\n".join(parts)


def reference() -> str:
    """Returns all settings as Markdown tables, a table a group."""
    lines = []
    for name, group in groups():
        lines += [f"## {name.replace('_', ' ')}", "", str(group.__doc__), ""]
        lines += ["| flag | default | values | |", "|---|---|---|---|"]
        for field in dataclasses.fields(group):
            default = _default(field) or "–"
            lines.append(f"| `--{field.name}` | {default} | {_values(group, field)} | {field.metadata['help']} |")
        lines.append("")
    return "\n".join(lines).replace("{data_dir}", "`{data_dir}`")


def _about(group: type, field: "dataclasses.Field[object]") -> str:
    default = _default(field)
    return f"{field.metadata['help']}{f' [{default}]' if default else ''}"


def _values(group: type, field: "dataclasses.Field[object]") -> str:
    taken = values_of(group, field.name)
    if taken.choices:
        return ", ".join(taken.choices)
    words = {
        bool: "true, false",
        int: "whole number",
        float: "number",
        str: "text",
        tuple: f"{taken.item.__name__}, ...",
    }
    bounds = bounds_in_words(field)
    return words[taken.kind] + (f", {bounds}" if bounds else "")


def _default(field: "dataclasses.Field[object]") -> str:
    value = field.default
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(f"{one:g}" if isinstance(one, float) else str(one) for one in value)
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _entry(name: str, text: str) -> str:
    flag = f"  --{name}"
    lines = textwrap.wrap(text, _WIDTH - _INDENT)
    first = f"{flag:<{_INDENT}}{lines[0]}" if len(flag) < _INDENT else f"{flag}\n{' ' * _INDENT}{lines[0]}"
    return "\n".join([first, *(" " * _INDENT + line for line in lines[1:])])
