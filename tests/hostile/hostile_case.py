"""What the modules of the hostile corpus share. Each case writes its file and tries to use it."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Case = Callable[[Path], object]
MARKER = "code_ran"
"""A file of this name in the case's folder means that code of the file was run."""


class Cases(dict[str, Case]):
    """The cases of one module by name."""

    def case(self, name: str) -> Callable[[Case], Case]:
        def add(function: Case) -> Case:
            assert name not in self
            self[name] = function
            return function

        return add

    def each(self, names_and_values: Mapping[str, Any]) -> Callable[[Callable[[Path, Any], object]], None]:
        """Adds one case for each value."""

        def add(function: Callable[[Path, Any], object]) -> None:
            for name, value in names_and_values.items():
                self.case(name)(lambda folder, value=value: function(folder, value))

        return add


def sparse(path: Path, size: int) -> Path:
    with open(path, "wb") as file:
        file.truncate(size)
    return path


class Payload:
    """A pickle of this makes a file when it is loaded with `pickle.load`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder / MARKER),)
