"""The user's own callbacks: `--callbacks=package.module:function,...`."""

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdistill.console.imports import imported
from kdistill.errors import ArgumentError
from kdistill.settings import Settings

if TYPE_CHECKING:
    import keras


@dataclasses.dataclass(frozen=True)
class RunContext:
    """What a function of `--callbacks` is given.

    Attributes:
        stage: that trains, "assist" or "distill"; "" after the last stage of a command.
        part: of a training in parts, "large", "shrinking" or "small"; else "".
        settings: of the run; `settings.values()` has them by name.
        workdir: folder of the run.
        steps: of the training, 0 after the last stage.
        chief: whether this process writes files; under --strategy=multiworker one of them does.
        figures: what stands in `metrics.json` so far.
    """

    stage: str
    part: str
    settings: Settings
    workdir: Path
    steps: int
    chief: bool
    figures: Mapping[str, Any]


def check_callbacks(settings: Settings) -> None:
    """Imports the functions that `--callbacks` names.

    Raises:
        ArgumentError: one that cannot be imported, is not a function, or cannot be given one argument.
    """
    for name, function in _functions(settings):
        try:
            inspect.signature(function).bind(None)
        except TypeError as error:
            raise ArgumentError(f"--callbacks={name} takes one argument, the run's context: {error}") from error
        except ValueError:  # a function of C does not say what it takes
            continue


def make_callbacks(context: RunContext) -> "list[keras.callbacks.Callback]":
    """Returns a callback of each function, in their order.

    Raises:
        ArgumentError: a function returns something else.
    """
    import keras

    made = []
    for name, function in _functions(context.settings):
        callback = function(context)
        if not isinstance(callback, keras.callbacks.Callback):
            raise ArgumentError(f"--callbacks={name} returns a {type(callback).__name__}; a Keras callback is expected")
        made.append(callback)
    return made


def tell_run_end(settings: Settings, workdir: Path, figures: Mapping[str, Any]) -> None:
    """Calls the attribute `on_run_end` of those functions that have one, after the last stage of a command."""
    context = RunContext("", "", settings, workdir, steps=0, chief=True, figures=figures)
    for _, function in _functions(settings):
        told = getattr(function, "on_run_end", None)
        if told is not None:
            told(context)


def _functions(settings: Settings) -> Sequence[tuple[str, Callable[..., Any]]]:
    return [(name, imported(name, "--callbacks: the function")) for name in settings.training.callbacks]
