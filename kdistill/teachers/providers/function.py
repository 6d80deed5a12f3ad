"""A teacher that is a Python function."""

import importlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kdistill.data.images import Image
from kdistill.errors import ArgumentError


class FunctionTeacher:
    """Calls a function of a sequence of Image that returns float [n, Dt].

    The function reads what it needs of each image (`pixels()`, `encoded()`, `id`). It may raise NotAsked or NoAnswer;
    any other exception ends the run, and the batch counts as perhaps charged. A service that charges may stand behind a
    function; where none does, the function says so by an attribute `repeatable` that is True (see Teacher).
    """

    view = "image"

    def __init__(self, function: Callable[[Sequence[Image]], Any], *, name: str | None = None) -> None:
        """Wraps `function`; `name` is None for its module and qualified name, which a change of its code keeps."""
        named = f"{getattr(function, '__module__', '')}:{getattr(function, '__qualname__', type(function).__name__)}"
        self.name = name or named
        self.repeatable = bool(getattr(function, "repeatable", False))
        self.function = function

    def embed(self, images: Sequence[Image]) -> np.ndarray:
        """Returns what the function returns, as an array."""
        return np.asarray(self.function(images))


def import_function(spec: str) -> FunctionTeacher:
    """Returns the teacher at "package.module:function".

    Raises:
        ArgumentError: no such module or function.
    """
    module_name, _, function_name = spec.partition(":")
    try:
        function = importlib.import_module(module_name)
        for part in function_name.split("."):
            function = getattr(function, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise ArgumentError(f"the teacher {spec!r} cannot be imported: {error}") from error
    if not callable(function):
        raise ArgumentError(f"the teacher {spec!r} is not a function")
    return FunctionTeacher(function, name=spec)
