"""Functions that raise and return what they like."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from hostile_case import Cases

from kdistill.data import Image, ImageSet
from kdistill.teachers import Ledger, ask, open_teacher

CASES = Cases()


class Fault(Exception):
    """Has whatever attributes it is given."""

    def __init__(self, **attributes: object) -> None:
        super().__init__("x" * 10_000_000)
        self.__dict__.update(attributes)


class Angry:
    """Raises whatever is asked of it."""

    def __getattr__(self, name: str) -> object:
        raise RuntimeError(f"no {name}")


class Endless(Exception):
    """Is its own cause."""

    def __init__(self) -> None:
        super().__init__(self)
        self.reason = self
        self.__cause__ = self


def raising(error: BaseException) -> Callable[..., object]:
    def function(images: object) -> object:
        raise error

    return function


CASES_OF_FUNCTIONS: dict[str, Callable[..., object]] = {
    "function: status of a refusal with a long text": raising(Fault(status_code=400)),
    "function: status beyond all": raising(Fault(status_code=10**30)),
    "function: status below zero": raising(Fault(status=-429)),
    "function: response that answers nothing": raising(Fault(response=Angry())),
    "function: headers that are a number": raising(Fault(status_code=403, headers=7)),
    "function: left alone for ever": raising(Fault(status_code=429, headers={"Retry-After": "9" * 30})),
    "function: body of control characters": raising(Fault(code=403, content=b"\x1b[2J")),
    "function: cause of itself": raising(Endless()),
    "function: an exception without a word": raising(Exception()),
    "function: memory": raising(MemoryError("1 EiB")),
    "function: recursion": lambda images: CASES_OF_FUNCTIONS["function: recursion"](images),
    "function: nothing": lambda images: None,
    "function: objects": lambda images: [object()],
    "function: text": lambda images: ["a"],
    "function: rows of unlike lengths": lambda images: [[1, 2], [3]],
    "function: a set": lambda images: {1.0},
    "function: complex numbers": lambda images: np.ones((len(images), 2), np.complex64),
}


@CASES.each(CASES_OF_FUNCTIONS)
def ask_function(folder: Path, function: Callable[..., object]) -> None:
    images = ImageSet([Image("a", array=np.zeros((2, 2, 3), np.uint8))])
    with Ledger(folder / "ledger.sqlite") as ledger:
        ask(open_teacher(function), images, [0], ledger, budget=1)
