"""What a setting names as `package.module:function`."""

import contextlib
import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from kdistill.errors import ArgumentError


def names_function(text: str) -> bool:
    """Says whether a text has the form `package.module:function`."""
    module, colon, function = text.partition(":")
    return bool(colon) and all(part.isidentifier() for part in (*module.split("."), *function.split(".")))


def importable(module: str) -> bool:
    """Says whether a module may be imported here, without importing anything of it.

    The current folder counts, as for `python -m`; parents are packages, whose import may do anything, so only the first
    part is looked for.
    """
    first = module.partition(".")[0]
    here = os.getcwd()
    return (
        first in sys.modules
        or importlib.util.find_spec(first) is not None
        or os.path.exists(os.path.join(here, f"{first}.py"))
        or os.path.isdir(os.path.join(here, first))
    )


def source_of(module: str) -> Path | None:
    """Returns the file that a module would be imported from, those in the current folder first; None for none.

    The module is not imported, nor are the packages that it lies in.
    """
    parts = module.split(".")
    places = [Path(os.getcwd(), *parts[:-1])]
    parent = importlib.util.find_spec(parts[0])
    if parent is not None and parent.submodule_search_locations:
        places += [Path(place, *parts[1:-1]) for place in parent.submodule_search_locations]
        if len(parts) == 1:
            places[1:] = [place.parent for place in places[1:]]
    elif parent is not None and parent.origin and len(parts) == 1:
        places.append(Path(parent.origin).parent)
    candidates = [file for place in places for file in (place / f"{parts[-1]}.py", place / parts[-1] / "__init__.py")]
    return next((file for file in candidates if file.is_file()), None)


@contextlib.contextmanager
def from_here() -> Iterator[None]:
    """Lets modules in the current folder be imported, before all others, as under `python -m`.

    An installed command's own path does not have the folder that it was called in.
    """
    here = os.getcwd()
    sys.path.insert(0, here)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(here)


def imported(spec: str, what: str) -> Callable[..., Any]:
    """Returns the function at `package.module:function`; modules in the current folder are found first.

    Args:
        spec: its name.
        what: what it is, for messages: "the teacher".

    Raises:
        ArgumentError: no such module or function.
    """
    module_name, _, function_name = spec.partition(":")
    try:
        with from_here():
            found = importlib.import_module(module_name)
            for part in function_name.split("."):
                found = getattr(found, part)
    # The module is the user's program: what it raises, or that it exits, is a fault of this function alone.
    except (Exception, SystemExit) as error:
        from kdistill.teachers.providers.function_faults import text_of  # which shows no keys

        raise ArgumentError(f"{what} {spec!r} cannot be imported: {text_of(error)}") from error
    if not callable(found):
        raise ArgumentError(f"{what} {spec!r} is not a function")
    return found
