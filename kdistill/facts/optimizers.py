"""The optimizers by name."""

from collections.abc import Mapping

OPTIMIZERS: Mapping[str, str] = {
    name.lower(): name
    for name in (
        "Adam",
        "AdamW",
        "SGD",
        "RMSprop",
        "Nadam",
        "Adamax",
        "Adagrad",
        "Adadelta",
        "Adafactor",
        "Ftrl",
        "Lion",
    )
}
"""Name in settings, in lower case -> class in keras.optimizers; letter case does not matter when one is chosen."""
