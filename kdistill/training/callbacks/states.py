"""What callbacks have counted so far, kept beside the checkpoints, so that a training that continues continues it."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kdistill.errors import KdistillError
from kdistill.files.archives import load_arrays
from kdistill.files.whole import write_arrays
from kdistill.training.callbacks.steps import StepCallback

_KEPT = 3
"""Files that stay: checkpoints are two, and the one of this step is written after this file."""

_NOT_KEPT = ("params", "_model", "model", "validation_data", "done", "_before", "min_delta")
"""What Keras, or `train`, sets in each process anew. Keras's EarlyStopping turns the sign of its `min_delta` when it is
first used."""


class CallbackStates(StepCallback):
    """Keeps the attributes of other callbacks that a training has changed: EarlyStopping's patience, one's own counts.

    It stands behind them in the list and before `ResumableCheckpoint`. An attribute counts that holds numbers, texts,
    truth values, None, arrays, or lists of these, and whose value has changed since the training began; what a callback
    was made with is not kept, so a changed patience holds. Other attributes (files, connections) are the callback's own
    affair in its `on_train_begin`.

    Attributes:
        stopped: whether the training that is continued had been ended by `stop_training`.
    """

    def __init__(self, callbacks: Sequence[keras.callbacks.Callback], folder: str | Path, keep: bool = True) -> None:
        """Takes the callbacks.

        Args:
            callbacks: whose attributes are kept.
            folder: of the checkpoints.
            keep: False for workers beside the chief, which read there and write nowhere.
        """
        super().__init__()
        self.callbacks, self.folder, self.keep, self.stopped = list(callbacks), Path(folder), keep, False
        self._at_begin: list[dict[str, list[np.ndarray]]] = []

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Gives the attributes back, where steps are done already.

        Raises:
            KdistillError: the file of this step is damaged.
        """
        self._at_begin = [_plain(callback) for callback in self.callbacks]
        file = self._file(self.done)
        self.stopped = False
        if not file.is_file():
            return
        try:
            (listed,) = load_arrays(file, ("listed",))
            state = json.loads(str(listed))
            arrays = load_arrays(file, [f"array_{number}" for number in range(state["arrays"])])
            for callback, values in zip(self.callbacks, state["callbacks"], strict=False):
                for name, value in values.items():
                    setattr(callback, name, _from_json(value, arrays))
            self.stopped = bool(state["stopped"])
        except (KdistillError, ValueError, KeyError, TypeError, IndexError) as error:
            raise KdistillError(
                f"{file} holds no state of callbacks ({error}); delete {self.folder} to train from the start"
            ) from error

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Writes the attributes.

        Raises:
            KdistillError: the disk is full or the folder cannot be written.
        """
        if not self.keep:
            return
        arrays: list[np.ndarray] = []
        states = []
        for callback, before in zip(self.callbacks, self._at_begin, strict=True):
            now = _plain(callback)
            changed = [name for name in now if name not in before or not _same(now[name], before[name])]
            states.append({name: _to_json(now[name], arrays) for name in changed})
        state = {"callbacks": states, "arrays": len(arrays), "stopped": bool(self.model.stop_training)}
        numbered = {f"array_{number}": array for number, array in enumerate(arrays)}
        write_arrays(self._file(self.done), listed=np.array(json.dumps(state)), **numbered)
        written = sorted(self.folder.glob("callbacks-*.npz"), key=lambda file: int(file.stem.partition("-")[2]))
        for file in written[:-_KEPT]:
            file.unlink()

    def _file(self, step: int) -> Path:
        return self.folder / f"callbacks-{step}.npz"


def _plain(callback: keras.callbacks.Callback) -> dict[str, Any]:
    """Returns copies of the attributes that can be kept."""
    found = {name: value for name, value in vars(callback).items() if name not in _NOT_KEPT}
    return {name: _copy(value) for name, value in found.items() if _can_be_kept(value)}


def _can_be_kept(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(_can_be_kept(item) for item in value)
    if isinstance(value, dict):
        return all(isinstance(name, str) and _can_be_kept(item) for name, item in value.items())
    numeric = isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "biufU"
    return value is None or isinstance(value, bool | int | float | str) or numeric


def _copy(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return type(value)(_copy(item) for item in value) if type(value) in (list, tuple) else [*map(_copy, value)]
    if isinstance(value, dict):
        return {name: _copy(item) for name, item in value.items()}
    return np.array(value) if isinstance(value, np.ndarray) else value


def _same(one: Any, other: Any) -> bool:
    first: list[np.ndarray] = []
    second: list[np.ndarray] = []
    if json.dumps(_to_json(one, first)) != json.dumps(_to_json(other, second)):
        return False
    return all(
        left.dtype == right.dtype and np.array_equal(left, right) for left, right in zip(first, second, strict=True)
    )


def _to_json(value: Any, arrays: list[np.ndarray]) -> Any:
    """Returns what JSON can hold; arrays go into the list, and what is no array of its own keeps its kind."""
    if isinstance(value, np.ndarray | np.generic):
        arrays.append(np.asarray(value))
        return {"scalar" if isinstance(value, np.generic) else "array": len(arrays) - 1}
    if isinstance(value, tuple):
        return {"tuple": [_to_json(item, arrays) for item in value]}
    if isinstance(value, list):
        return [_to_json(item, arrays) for item in value]
    if isinstance(value, dict):
        return {"dict": {name: _to_json(item, arrays) for name, item in value.items()}}
    return value


def _from_json(value: Any, arrays: Sequence[np.ndarray]) -> Any:
    if isinstance(value, list):
        return [_from_json(item, arrays) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, inside),) = value.items()
    if kind == "tuple":
        return tuple(_from_json(item, arrays) for item in inside)
    if kind == "dict":
        return {name: _from_json(item, arrays) for name, item in inside.items()}
    return arrays[inside][()] if kind == "scalar" else arrays[inside]
