"""An option of something that is chosen by name: its kind, its default, and what it may be."""

import dataclasses
import math
import numbers
from typing import Any

from kdistill.errors import ArgumentError

Value = bool | int | float | str

_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a word"}


@dataclasses.dataclass(frozen=True)
class Option:
    """One option.

    Attributes:
        name: of the keyword argument.
        default: what it is when it is not given; its type is the option's kind (bool, int, float or str).
        above: the value must be larger than this; None for no such bound.
        least: the value must be this or larger; None for no such bound.
        most: the value must be this or smaller; None for no such bound.
        choices: the words that are allowed, for a str.
    """

    name: str
    default: Value
    above: float | None = None
    least: float | None = None
    most: float | None = None
    choices: tuple[str, ...] = ()

    @property
    def kind(self) -> type:
        """Returns bool, int, float or str."""
        return type(self.default)

    def checked(self, value: Any) -> Value:
        """Returns the value as a plain Python value of the option's kind.

        Raises:
            ArgumentError: it is of another kind or out of its bounds.
        """
        if not self._is_of_kind(value):
            raise ArgumentError(f"{self.name} takes {_KINDS[self.kind]}; {value!r} was given")
        if self.choices and value not in self.choices:
            raise ArgumentError(f"{self.name} {value!r} is unknown; choose one of {', '.join(self.choices)}")
        if self.above is not None and not value > self.above:
            raise ArgumentError(f"{self.name} must be above {self.above:g}; {value} was given")
        if self.least is not None and not value >= self.least:
            raise ArgumentError(f"{self.name} must be at least {self.least:g}; {value} was given")
        if self.most is not None and not value <= self.most:
            raise ArgumentError(f"{self.name} must be at most {self.most:g}; {value} was given")
        plain: Value = self.kind(value)
        return plain

    def _is_of_kind(self, value: Any) -> bool:
        if self.kind in (bool, str):
            return isinstance(value, self.kind)
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            return False
        return isinstance(value, numbers.Integral) if self.kind is int else math.isfinite(value)
