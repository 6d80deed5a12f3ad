"""A teacher that is a Python function."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kdistill.console.imports import imported
from kdistill.data.images import Image
from kdistill.errors import ArgumentError


class FunctionTeacher:
    """Calls a function of a sequence of Image that returns float [n, Dt].

    The function reads what it needs of each image (`pixels()`, `encoded()`, `id`). It may raise NotAsked or NoAnswer;
    any other exception ends the run, and the batch counts as perhaps charged. A service that charges may stand behind a
    function; where none does, the function says so by an attribute `repeatable` that is True (see Teacher).

    Whatever else decides its answers (the service behind it, that service's model) belongs into an attribute `name` of
    the function: answers of another name never enter the same ledger. What it makes of an image belongs into `view`.
    """

    def __init__(self, function: Callable[[Sequence[Image]], Any], *, name: str | None = None) -> None:
        """Wraps a function.

        Args:
            function: may have attributes `name`, `view` (strings) and `repeatable`.
            name: its name where it has none of its own; None for its module and qualified name. No hash stands in
                it: a change of the function's code keeps the name.

        Raises:
            ArgumentError: an attribute `name` or `view` that is no string, or an empty one; a class, or a function
                that is asynchronous or a generator, whose calls return no answers.
        """
        own = f"{getattr(function, '__module__', '')}:{getattr(function, '__qualname__', type(function).__name__)}"
        fault = _returns_no_answers(function)
        if fault:
            raise ArgumentError(f"the teacher {name or own!r} is {fault}; give a function that returns the answers")
        self.name = _text(function, "name", name or own)
        self.view = _text(function, "view", "image")
        self.repeatable = bool(getattr(function, "repeatable", False))
        self.function = function

    def embed(self, images: Sequence[Image]) -> np.ndarray:
        """Returns what the function returns, as an array."""
        return np.asarray(self.function(images))


def import_function(spec: str) -> FunctionTeacher:
    """Returns the teacher at "package.module:function"; modules in the current folder are found first.

    Raises:
        ArgumentError: no such module or function.
    """
    return FunctionTeacher(imported(spec, "the teacher"), name=spec)


def _returns_no_answers(function: Any) -> str:
    """Returns what a callable is whose calls return something else than answers; "" for none of these."""
    if inspect.isclass(function):
        return "a class"
    called = (function, inspect.getattr_static(function, "__call__", None))
    if any(inspect.iscoroutinefunction(one) for one in called):
        return "asynchronous"
    if any(inspect.isgeneratorfunction(one) or inspect.isasyncgenfunction(one) for one in called):
        return "a generator"
    return ""


def _text(function: Any, attribute: str, otherwise: str) -> str:
    value = getattr(function, attribute, None)
    if value is None:
        return otherwise
    if not isinstance(value, str) or not value.strip():
        raise ArgumentError(f"the attribute {attribute!r} of the teacher {otherwise!r} is {value!r}, expected a string")
    return value
