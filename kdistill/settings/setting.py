"""One setting: its default, and beside it the help, the bounds and where it is shown."""

import dataclasses
import math
import types
import typing
from typing import Any

from kdistill.errors import ArgumentError


def setting(
    default: Any,
    help: str,
    *,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    common: bool = False,
    decides: bool = True,
) -> Any:
    """Returns the field of a settings group; its type, and for names a Literal, stands in the annotation.

    Args:
        default: the value without a flag; None where the setting may be left out.
        help: one sentence or two for people.
        low: the least value of a number.
        high: the greatest value of a number.
        above: a bound that a number must be above.
        common: whether `--help` shows it (`--helpfull` shows all).
        decides: whether a result depends on it; where things go and how much is told decide nothing.
    """
    about = {"help": help, "low": low, "high": high, "above": above, "common": common, "decides": decides}
    return dataclasses.field(default=default, metadata=about)


@dataclasses.dataclass(frozen=True)
class Values:
    """What values a setting takes.

    Attributes:
        kind: bool, int, float, str, or tuple for several values.
        item: kind of the values of a tuple, otherwise `kind`.
        choices: the names of a Literal; empty for any value.
        optional: whether None stands for "left out".
    """

    kind: type
    item: type
    choices: tuple[str, ...]
    optional: bool


def values_of(group: type, name: str) -> Values:
    """Returns what a field of a settings group takes, from its annotation."""
    annotation = typing.get_type_hints(group)[name]
    optional = False
    if typing.get_origin(annotation) in (types.UnionType, typing.Union):
        annotation = next(part for part in typing.get_args(annotation) if part is not type(None))
        optional = True
    if typing.get_origin(annotation) is typing.Literal:
        return Values(str, str, typing.get_args(annotation), optional)
    if typing.get_origin(annotation) is tuple:
        return Values(tuple, typing.get_args(annotation)[0], (), optional)
    return Values(annotation, annotation, (), optional)


def bounds_in_words(field: "dataclasses.Field[Any]") -> str:
    """Returns "at least 1", "above 0 and at most 1", or nothing."""
    low, high, above = (field.metadata[name] for name in ("low", "high", "above"))
    parts = [f"above {above:g}"] if above is not None else [f"at least {low:g}"] if low is not None else []
    return " and ".join([*parts, *([f"at most {high:g}"] if high is not None else [])])


def check_value(group: type, field: "dataclasses.Field[Any]", value: Any) -> None:
    """Compares a value with the setting's type, choices and bounds.

    Raises:
        ArgumentError: it cannot be right.
    """
    taken = values_of(group, field.name)
    if value is None:
        if not taken.optional:
            raise ArgumentError(f"--{field.name} needs a value")
        return
    if taken.kind is tuple and not isinstance(value, tuple):
        raise ArgumentError(f"--{field.name} takes several values; {value!r} was given")
    for one in value if taken.kind is tuple else (value,):
        _check_one(field, taken, one)


def _check_one(field: "dataclasses.Field[Any]", taken: Values, value: Any) -> None:
    if taken.choices:
        if value not in taken.choices:
            raise ArgumentError(f"--{field.name}={value} is unknown; choose one of {', '.join(taken.choices)}")
    elif taken.item in (int, float):
        _check_number(field, taken.item, value)
    elif not isinstance(value, taken.item):
        raise ArgumentError(f"--{field.name} takes {taken.item.__name__}; {value!r} was given")
    elif isinstance(value, str) and "\0" in value:
        raise ArgumentError(f"--{field.name} holds a zero byte, which no name can have")


def _check_number(field: "dataclasses.Field[Any]", kind: type, value: Any) -> None:
    wanted, accepted = ("a whole number", int) if kind is int else ("a number", (int, float))
    if isinstance(value, bool) or not isinstance(value, accepted):
        raise ArgumentError(f"--{field.name} takes {wanted}; {value!r} was given")
    low, high, above = (field.metadata[name] for name in ("low", "high", "above"))
    # Whole numbers are compared at any size; only a float can be infinite or no number.
    outside = isinstance(value, float) and not math.isfinite(value)
    outside = outside or (low is not None and value < low) or (high is not None and value > high)
    if outside or (above is not None and value <= above):
        raise ArgumentError(f"--{field.name} must be {bounds_in_words(field) or 'finite'}; {value} was given")
