"""Settings of Keras that come from outside and that this library cannot work under, told before Keras is imported."""

import json
import os
from pathlib import Path

from kdistill.errors import ArgumentError

_NEEDED = {"backend": "tensorflow", "floatx": "float32", "image_data_format": "channels_last"}


def check_keras_settings() -> None:
    """Looks at KERAS_BACKEND and at keras.json where Keras looks for it (KERAS_HOME, else ~/.keras).

    Raises:
        ArgumentError: a backend other than TensorFlow, or other defaults than float32 and channels last: models would
            be built otherwise than they are trained and exported.
    """
    folder = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")
    file = folder / "keras.json"
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        stored = None  # Keras itself takes its defaults then
    content = stored if isinstance(stored, dict) else {}
    found = {name: (content.get(name, needed), str(file)) for name, needed in _NEEDED.items()}
    if os.environ.get("KERAS_BACKEND"):
        found["backend"] = os.environ["KERAS_BACKEND"], "the variable KERAS_BACKEND"
    for name, (value, place) in found.items():
        if value != _NEEDED[name]:
            raise ArgumentError(f"Keras's {name} is {value!r} in {place}; kdistill needs {_NEEDED[name]!r} there")
