"""The pictures in `results/`: matplotlib without a window."""

from typing import Any

from kdistill.console.optional import optional


def pyplot() -> Any:
    """Returns `matplotlib.pyplot`, drawing into files.

    Raises:
        KdistillError: matplotlib is not installed.
    """
    optional("matplotlib", "benchmarks").use("Agg")
    return optional("matplotlib.pyplot", "benchmarks")
