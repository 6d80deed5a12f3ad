"""Progress bars: one look, with rate and time left, for everything that takes long."""

import sys
from collections.abc import Iterable
from typing import Any

import tqdm


def progress_bar(
    iterable: Iterable[Any] | None = None,
    *,
    total: int | None = None,
    description: str,
    unit: str = "image",
    initial: int = 0,
) -> "tqdm.tqdm[Any]":
    """Returns a tqdm bar on standard error.

    On a terminal it redraws in place; in a log file it prints at most one line every ten seconds. Work that is done
    within half a second shows none.

    Args:
        iterable: what to walk through; None for a bar that is moved by `update`.
        total: number of units when `iterable` has no length.
        description: the work in a word or two.
        unit: the singular name of what is counted.
        initial: units that were done before (a resumed job), not counted in the rate.
    """
    terminal = sys.stderr.isatty()
    return tqdm.tqdm(
        iterable,
        total=total,
        desc=description,
        unit=unit,
        initial=initial,
        delay=0.5,
        mininterval=0.2 if terminal else 10.0,
        dynamic_ncols=terminal,
    )
