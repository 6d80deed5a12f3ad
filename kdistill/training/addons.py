"""Names of tensorflow-addons, in the environment where that package imports."""

from typing import Any

import keras

from kdistill.errors import ArgumentError

PREFIX = "Addons>"


def registered(name: str) -> Any:
    """Returns the class or function that tensorflow-addons registers under `name` ("Addons>...").

    Raises:
        ArgumentError: the package cannot be imported here, or registers nothing under that name.
    """
    try:
        import tensorflow_addons  # noqa: F401  (importing it is what registers the names)
    except Exception as error:  # Under Keras 3 the import fails in many ways.
        raise ArgumentError(
            f"{name!r} belongs to tensorflow-addons, which does not import in this environment; "
            "use the environment of `pip install .[addons]`"
        ) from error
    known = keras.saving.get_custom_objects()
    if name not in known:
        names = ", ".join(sorted(key for key in known if key.startswith(PREFIX)))
        raise ArgumentError(f"tensorflow-addons registers no {name!r}; it registers {names}")
    return known[name]
