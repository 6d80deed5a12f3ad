"""From a name on the command line to an optimizer."""

import inspect
from typing import Any

import keras

from kdistill import stacks
from kdistill.errors import ArgumentError
from kdistill.facts.losses import ADDONS_PREFIX
from kdistill.facts.optimizers import OPTIMIZERS


def names() -> tuple[str, ...]:
    """Returns the names of Keras's optimizers that `get` knows."""
    return tuple(OPTIMIZERS)


def get(name: str, learning_rate: Any, **options: Any) -> Any:
    """Returns the optimizer of that name.

    Args:
        name: one of `names()`, or "Addons>..." where tensorflow-addons imports. Its wrappers (Lookahead,
            MovingAverage, SWA) are put around Adam; AdamW and SGDW take a weight decay of 0.004 unless given, as
            Keras's AdamW does.
        learning_rate: a float above 0 or a Keras schedule; Addons>COCOB has none and ignores it.
        **options: of the optimizer's `__init__`.

    Raises:
        ArgumentError: an unknown name, a learning rate or an option that the optimizer does not take.
    """
    if isinstance(learning_rate, int | float) and not learning_rate > 0:
        raise ArgumentError(f"the learning rate must be above 0; {learning_rate} was given")
    try:
        if name.startswith(ADDONS_PREFIX):
            return _from_addons(name, learning_rate, options)
        if name.lower() not in OPTIMIZERS:
            raise ArgumentError(f"optimizer {name!r} is unknown; choose one of {', '.join(OPTIMIZERS)}, or Addons>...")
        return getattr(keras.optimizers, OPTIMIZERS[name.lower()])(learning_rate=learning_rate, **options)
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"optimizer {name!r} does not take these options: {error}") from error


def for_network(optimizer: Any, network: keras.Model) -> Any:
    """Returns the optimizer of a network: in float16, where small gradients would be 0, one that scales the loss."""
    halves = any(getattr(layer, "compute_dtype", None) == "float16" for layer in network._flatten_layers())
    return keras.mixed_precision.LossScaleOptimizer(optimizer) if halves else optimizer


def create_variables(optimizer: Any, variables: list[Any]) -> None:
    """Creates what an optimizer remembers of these variables, once: Keras 3's loss scale would start anew each time."""
    # Those of tensorflow-addons create theirs when they are first needed.
    if hasattr(optimizer, "build") and not getattr(optimizer, "built", False):
        optimizer.build(variables)


def _from_addons(name: str, learning_rate: Any, options: dict[str, Any]) -> Any:
    optimizer_class = stacks.addon(name)
    if not (inspect.isclass(optimizer_class) and hasattr(optimizer_class, "apply_gradients")):
        raise ArgumentError(f"{name!r} is not an optimizer")
    parameters = inspect.signature(optimizer_class.__init__).parameters
    if "learning_rate" in parameters:
        options = {"learning_rate": learning_rate, **options}
        if parameters.get("weight_decay", inspect.Parameter.empty) is not inspect.Parameter.empty:
            required = parameters["weight_decay"].default is inspect.Parameter.empty
            options = {"weight_decay": 0.004, **options} if required else options
    elif "optimizer" in parameters:
        options = {"optimizer": stacks.old_adam(learning_rate), **options}
    return optimizer_class(**options)
