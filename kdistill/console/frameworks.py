"""How our own commands start TensorFlow and Keras: without chatter, with fast kernels, in half of the time."""

import gc
import importlib.abc
import importlib.machinery
import os
import sys
from collections.abc import Sequence
from types import ModuleType

_HIDDEN = ("sklearn", "matplotlib", "pandas")
"""Keras has wrappers and pictures for each where it finds it, and does as well without: 1.6 of 5.5 seconds."""

_LARGE = ("tensorflow", "keras")
"""Packages of hundreds of thousands of objects, of which none is garbage: to look for some takes 0.6 of 4.5 seconds."""


def prepare_frameworks() -> None:
    """Sets what TensorFlow reads when it is imported, hides _HIDDEN from Keras, and lets both be imported in one go.

    For processes of our own only: in them `keras.wrappers` has no scikit-learn and `keras.visualization` no Matplotlib;
    every other import finds all.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # TensorFlow takes them by itself on the newest processors only; elsewhere a step of EfficientNet-Lite0 takes 1.5
    # times as long without.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    if not any(isinstance(finder, _Hiding) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Hiding())


class _Hiding(importlib.abc.MetaPathFinder):
    """Refuses what is hidden as long as Keras is being imported, and stops the search for garbage during its import."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        keras = sys.modules.get("keras")
        if fullname in _HIDDEN and keras is not None and getattr(keras.__spec__, "_initializing", False):
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)
        return _importing_without_collecting(fullname) if fullname in _LARGE else None


def _importing_without_collecting(name: str) -> importlib.machinery.ModuleSpec | None:
    """Returns how a package is found, such that nothing looks for garbage while it is executed."""
    spec = importlib.machinery.PathFinder.find_spec(name)
    if spec is None or spec.loader is None:
        return spec
    execute = spec.loader.exec_module

    def without_collecting(module: ModuleType) -> None:
        collecting = gc.isenabled()
        gc.disable()
        try:
            execute(module)
        finally:
            if collecting:
                gc.enable()

    spec.loader.exec_module = without_collecting  # type: ignore[method-assign]
    return spec
