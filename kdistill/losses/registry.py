"""From a name on the command line to a loss."""

from typing import Any

import keras

from kdistill.errors import ArgumentError
from kdistill.losses.base import DistillationLoss
from kdistill.losses.contrastive import Contrastive
from kdistill.losses.regression import Regression
from kdistill.losses.softmax_ranking import SoftmaxRanking

_LOSSES: dict[str, type[DistillationLoss]] = {
    "softmax_ranking": SoftmaxRanking,
    "regression": Regression,
    "contrastive": Contrastive,
}


def names() -> tuple[str, ...]:
    """Returns the names that `get` knows, joint-space losses first, supervised references last."""
    return tuple(_LOSSES)


def get(name: str, **options: Any) -> keras.losses.Loss:
    """Returns the loss of that name.

    Args:
        name: one of `names()`.
        **options: of the loss's `__init__`.

    Raises:
        ArgumentError: an unknown name, or an option that the loss does not have or that is out of range.
    """
    if name not in _LOSSES:
        raise ArgumentError(f"loss {name!r} is unknown; choose one of {', '.join(_LOSSES)}")
    try:
        return _LOSSES[name](**options)
    except TypeError as error:
        raise ArgumentError(f"loss {name!r} does not take these options: {error}") from error
