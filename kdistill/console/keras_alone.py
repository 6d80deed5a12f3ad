"""Keras without the packages that it only has wrappers and pictures for: a command starts in two thirds of the time."""

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Sequence
from types import ModuleType

_HIDDEN = ("sklearn", "matplotlib", "pandas")
"""Keras takes each where it finds it, and does as well without."""


def import_keras_alone() -> None:
    """Lets the import of Keras, whenever it comes, find none of them; every other import finds all.

    For processes of our own only: in them `keras.wrappers` has no scikit-learn and `keras.visualization` no Matplotlib.
    """
    if not any(isinstance(finder, _Hiding) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Hiding())


class _Hiding(importlib.abc.MetaPathFinder):
    """Refuses what is hidden as long as Keras is being imported."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        keras = sys.modules.get("keras")
        if fullname in _HIDDEN and keras is not None and getattr(keras.__spec__, "_initializing", False):
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)
        return None
