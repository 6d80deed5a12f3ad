"""Packages whose classes a `.keras` file may be made of, once the user has named them as trusted."""

import importlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from kdistill.console.imports import from_here
from kdistill.console.quiet import quiet
from kdistill.errors import ArgumentError, KdistillError, first_line
from kdistill.facts.teachers import EXTRA_OF, is_package

_OWN = ("keras", "kdistill")
"""Packages whose classes every file may name."""

_CODE = ("Lambda", "__lambda__", "function")


def check_packages(names: Sequence[str]) -> None:
    """Raises ArgumentError unless all are names of packages outside of Python's own library."""
    for name in names:
        if not is_package(name):
            raise ArgumentError(
                f"{name!r} cannot be trusted: --trust_packages takes the names of packages of models as Python imports "
                "them, such as keras_hub"
            )


def refuse_code(path: Path | str, config: Any, trusted: Sequence[str] = ()) -> None:
    """Raises KdistillError where a configuration has code of its own or names modules of packages that are not trusted.

    Nothing is imported.
    """
    for node in _nodes(config):
        module, class_name = node.get("module"), node.get("class_name")
        if class_name in _CODE:
            raise KdistillError(f"{path} contains a {class_name} of its own code, which is not run")
        if isinstance(module, str) and not (_in_packages(module, _OWN) or _in_packages(module, trusted)):
            package = module.partition(".")[0]
            help = (
                f"; for a teacher or a backbone, --trust_packages={package} imports it, if you trust what is in it"
                if is_package(package) and package not in trusted
                else ""
            )
            raise KdistillError(f"{path} needs code of the module {module!r}, which is not imported{help}")


def trusted_classes(path: Path | str, config: Any, trusted: Sequence[str]) -> dict[str, type]:
    """Imports the modules of trusted packages that a configuration names, and returns the classes, by registered name.

    Only classes that the package itself defines and that Keras can build from a configuration are taken: not what its
    modules have imported from elsewhere.

    Raises:
        KdistillError: a module that cannot be imported, or a name that is no such class.
    """
    found: dict[str, type] = {}
    for node in _nodes(config):
        module, name = node.get("module"), node.get("class_name")
        if not isinstance(module, str) or _in_packages(module, _OWN):
            continue
        kind = vars(_imported(path, module)).get(name) if isinstance(name, str) else None
        if not isinstance(kind, type) or not _in_packages(kind.__module__, trusted) or not hasattr(kind, "from_config"):
            raise KdistillError(f"{path} names {name!r} of {module}, which is no class of models or layers there")
        found[str(node.get("registered_name") or name)] = kind
    return found


def _imported(path: Path | str, module: str) -> Any:
    package = module.partition(".")[0]
    try:
        with quiet(), from_here():
            return importlib.import_module(module)
    # A package may raise anything while it is imported, and where it is older or newer it lacks the module.
    except (Exception, SystemExit) as error:
        install = f": python -m pip install 'kdistill[{EXTRA_OF[package]}]'" if package in EXTRA_OF else ""
        missing = isinstance(error, ModuleNotFoundError) and error.name == package
        reason = f"{package} is not installed" if missing else first_line(error)
        raise KdistillError(f"{path} needs {module}, which cannot be imported ({reason}){install}") from error


def _in_packages(module: str, packages: Sequence[str]) -> bool:
    return all(part.isidentifier() for part in module.split(".")) and module.partition(".")[0] in packages


def _nodes(config: Any) -> Iterator[dict[str, Any]]:
    """Yields all dictionaries of a configuration; without recursion, since files from outside may be nested deeply."""
    waiting = [config]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            yield node
            waiting.extend(node.values())
        elif isinstance(node, list):
            waiting.extend(node)
