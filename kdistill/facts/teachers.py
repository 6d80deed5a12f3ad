"""How a teacher that is a model can be shown photos, by name, without TensorFlow."""

import sys

_NEVER = ("keras", "kdistill", "tensorflow")
"""The first two are trusted already, as far as that is safe; the third reads and writes files."""

SCALINGS = ("none", "unit", "symmetric", "torch", "clip")
"""Names of recipes: pixels 0..255, 0..1, -1..1, torchvision's mean and deviation, CLIP's."""

AUTO = "auto"
DEFAULT_SIDE = 224
"""Of a teacher that is a backbone, in pixels."""

EXTRA_OF = {"keras_hub": "kerashub"}
"""Package of models that a `.keras` file may be made of -> the extra that installs it."""


def is_package(name: str) -> bool:
    """Says whether `--trust_packages` may name this: a package, and none of Python's own library."""
    return name.isidentifier() and name not in sys.stdlib_module_names and name not in _NEVER


def is_recipe(scaling: str) -> bool:
    """Says whether `--teacher_scaling` may be this: "auto", one of SCALINGS, or the path of a JSON file."""
    return scaling in (AUTO, *SCALINGS) or scaling.lower().endswith(".json")
