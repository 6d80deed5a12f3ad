"""Packages that only one feature needs: imported where it is used, named with their extra where missing."""

import importlib
from typing import Any

from kdistill.errors import KdistillError


def optional(module: str, extra: str) -> Any:
    """Returns a module of a package that an extra of setup.cfg installs.

    Raises:
        KdistillError: the package is not installed, or cannot be imported.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise KdistillError(
            f"{package} cannot be imported ({error}): python -m pip install 'kdistill[{extra}]'"
        ) from error
