"""Reads pickles of plain data and nothing else.

`pickle.load` runs whatever code a file names. Here a file may name numpy's array, scalar and dtype, set, frozenset and
OrderedDict; any other name is refused and stands in the error. Not even numpy's own functions are called with what the
file says: arrays are rebuilt from their raw bytes, so a file cannot hand numpy an inconsistent state.
"""

import collections
import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from kdistill.errors import KdistillError
from kdistill.files.whole import read_bounded

MAX_PICKLE_BYTES = 64 << 20
"""The ground truth of a million distractors is a tenth of this; every byte can become a Python object."""

MAX_OBJECTS = 20_000_000

_KINDS = "biufcSU"
"""Kinds of numbers and strings (numpy's dtype.kind) that an array may have; objects and records are refused."""


def load_plain(path: str | Path) -> Any:
    """Returns the lists, tuples, dicts, sets, numbers, strings and numpy arrays that a pickle file holds.

    Pickles of Python 2 are read with byte strings as latin-1, as their authors' own loaders do.

    Raises:
        KdistillError: the file is missing, damaged, or asks for anything else; the message names what it asked for.
    """
    try:
        file = io.BytesIO(read_bounded(path, MAX_PICKLE_BYTES))
        loaded = _PlainUnpickler(file, encoding="latin1").load()
        return _with_arrays(loaded)
    except _Refused as error:
        raise KdistillError(
            f"{path} asks for {error.name}, and only plain containers, numbers, strings and numpy arrays are accepted"
        ) from None
    except KdistillError:
        raise
    # A damaged pickle can raise nearly anything out of the unpickler.
    except Exception as error:
        raise KdistillError(f"{path} is not a readable pickle: {error or type(error).__name__}") from error


class _Refused(Exception):
    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class _Type:
    """Stands for a numpy.dtype until the arrays are built: its code, and the byte order that its state adds."""

    def __init__(self, code: Any) -> None:
        self.code = _text(code)
        self.order = "<"

    def __setstate__(self, state: Any) -> None:
        self.order = _text(state[1])
        if state[2] is not None or state[3] is not None or state[4] is not None:
            raise _Refused("a numpy dtype with fields")

    def build(self) -> np.dtype:
        """Returns the dtype."""
        dtype = np.dtype(self.code)
        if dtype.kind not in _KINDS:
            raise _Refused(f"a numpy array of type {self.code}")
        return dtype.newbyteorder(">") if self.order == ">" else dtype


class _Array:
    """Stands for a numpy array until the arrays are built."""

    def __init__(self) -> None:
        self.state: tuple[Any, ...] | None = None

    def __setstate__(self, state: Any) -> None:
        self.state = tuple(state)

    def build(self) -> np.ndarray:
        """Returns the array."""
        if self.state is None:
            raise ValueError("an array without contents")
        _, shape, dtype, fortran, raw = self.state
        if not isinstance(dtype, _Type):
            raise ValueError("an array without a dtype")
        built = dtype.build()
        content = _bytes(raw)
        # frombuffer refuses an empty buffer.
        flat = np.frombuffer(content, built) if content else np.empty(0, built)
        return flat.reshape(shape, order="F" if fortran else "C").copy()


class _Scalar:
    """Stands for a numpy scalar until the arrays are built."""

    def __init__(self, dtype: Any, raw: Any) -> None:
        self.dtype, self.raw = dtype, raw

    def build(self) -> Any:
        """Returns the scalar."""
        if not isinstance(self.dtype, _Type):
            raise ValueError("a scalar without a dtype")
        built = self.dtype.build()
        return np.frombuffer(_bytes(self.raw), built, count=1)[0]


# The one in Python: the one in C makes room for whatever number of objects a file claims to remember.
class _PlainUnpickler(pickle._Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Returns what stands in for a name, or refuses the name."""
        # numpy renamed its core package in version 2; Python 2 called builtins by another name.
        module = module.replace("numpy.core.", "numpy._core.").replace("__builtin__", "builtins")
        known: dict[tuple[str, str], Any] = {
            ("numpy", "ndarray"): None,
            ("numpy", "dtype"): self._dtype,
            ("numpy._core.multiarray", "_reconstruct"): self._array,
            ("numpy._core.multiarray", "scalar"): self._scalar,
            ("numpy._core.numeric", "_frombuffer"): self._from_buffer,
            ("_codecs", "encode"): self._encode,
            ("builtins", "bytes"): self._no_bytes,
            ("builtins", "set"): set,
            ("builtins", "frozenset"): frozenset,
            ("collections", "OrderedDict"): collections.OrderedDict,
        }
        if (module, name) not in known:
            raise _Refused(f"{module}.{name}")
        return known[module, name]

    def _dtype(self, code: Any, *_: Any) -> _Type:
        return _Type(code)

    def _array(self, *_: Any) -> _Array:
        return _Array()

    def _scalar(self, dtype: Any, raw: Any) -> _Scalar:
        return _Scalar(dtype, raw)

    def _from_buffer(self, raw: Any, dtype: Any, shape: Any, order: Any) -> _Array:
        array = _Array()
        array.__setstate__((1, shape, dtype, order == "F", bytes(raw)))
        return array

    def _encode(self, text: str, encoding: str) -> bytes:
        # How protocol 2 writes bytes; only this one codec is ever written.
        if encoding != "latin1":
            raise _Refused(f"the codec {encoding}")
        return text.encode("latin1")

    def _no_bytes(self) -> bytes:
        # How protocol 2 writes the empty byte string; with an argument, `bytes` could ask for any amount of memory.
        return b""


def _text(value: Any) -> str:
    return value.decode("latin1") if isinstance(value, bytes) else str(value)


def _bytes(value: Any) -> bytes:
    return value.encode("latin1") if isinstance(value, str) else bytes(value)


def _with_arrays(value: Any) -> Any:
    """Returns the value with every stand-in replaced; containers are copied as list, tuple, set or dict."""
    return _Builder().build(value)[0]


class _Builder:
    """Builds what stands in a pickle several times once, and counts it each time.

    Ten lists of ten lists of ten lists ... of the same word are a short pickle that takes any time to walk through.
    """

    def __init__(self) -> None:
        self._built: dict[int, tuple[Any, int]] = {}

    def build(self, value: Any) -> tuple[Any, int]:
        """Returns the value without stand-ins, and of how many objects it consists."""
        if id(value) in self._built:
            return self._built[id(value)]
        if isinstance(value, (_Type, _Array, _Scalar)):
            result: tuple[Any, int] = value.build(), 1
        elif isinstance(value, dict):
            pairs = [(self.build(key), self.build(item)) for key, item in value.items()]
            size = sum(key[1] + item[1] for key, item in pairs)
            result = {key[0]: item[0] for key, item in pairs}, size
        elif isinstance(value, (list, tuple, set, frozenset)):
            parts = [self.build(item) for item in value]
            kind: Callable[[Any], Any] = next(kind for kind in _CONTAINERS if isinstance(value, kind))
            result = kind([part[0] for part in parts]), 1 + sum(part[1] for part in parts)
        else:
            return value, 1
        if result[1] > MAX_OBJECTS:
            raise ValueError(f"it stands for more than {MAX_OBJECTS:,} objects")
        self._built[id(value)] = result
        return result


_CONTAINERS = (list, tuple, set, frozenset)
