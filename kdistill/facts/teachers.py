"""How a teacher that is a model can be shown photos, by name, without TensorFlow."""

SCALINGS = ("none", "unit", "symmetric", "torch", "clip")
"""Names of recipes: pixels 0..255, 0..1, -1..1, torchvision's mean and deviation, CLIP's."""

AUTO = "auto"
DEFAULT_SIDE = 224
"""Of a teacher that is a backbone, in pixels."""


def is_recipe(scaling: str) -> bool:
    """Says whether `--teacher_scaling` may be this: "auto", one of SCALINGS, or the path of a JSON file."""
    return scaling in (AUTO, *SCALINGS) or scaling.lower().endswith(".json")
