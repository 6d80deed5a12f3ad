"""From a name on the command line to a loss."""

from typing import Any

import keras

from kdistill.errors import ArgumentError
from kdistill.facts.losses import ADDONS_PREFIX, LOSSES, checked_options
from kdistill.losses.addons import AddonsLoss
from kdistill.losses.base import DistillationLoss
from kdistill.losses.list_mle import ListMLE
from kdistill.losses.pairwise_logistic import PairwiseLogistic
from kdistill.losses.published.contrastive import Contrastive
from kdistill.losses.published.csd import CSD
from kdistill.losses.published.darkrank import DarkRank
from kdistill.losses.published.gram import RAML, Gram
from kdistill.losses.published.pkt import PKT
from kdistill.losses.published.regression import Regression
from kdistill.losses.published.rkd import RKD, RKDDistance
from kdistill.losses.published.seed import SEED
from kdistill.losses.published.similarity_preserving import SimilarityPreserving
from kdistill.losses.published.triplet import TripletSemiHard
from kdistill.losses.softmax_ranking import SoftmaxRanking

_CLASSES: tuple[type[DistillationLoss], ...] = (
    SoftmaxRanking,
    ListMLE,
    PairwiseLogistic,
    RKDDistance,
    Gram,
    Regression,
    RKD,
    PKT,
    SimilarityPreserving,
    DarkRank,
    CSD,
    SEED,
    RAML,
    Contrastive,
    TripletSemiHard,
)
_LOSSES: dict[str, Any] = {kind.known_as: kind for kind in _CLASSES}


def names() -> tuple[str, ...]:
    """Returns the names of our losses: those of the joint space first, supervised references last."""
    return tuple(LOSSES)


def get(name: str, **options: Any) -> keras.losses.Loss:
    """Returns the loss of that name.

    Args:
        name: one of `names()`, or "Addons>..." where tensorflow-addons imports.
        **options: of the loss.

    Raises:
        ArgumentError: an unknown name, or an option that the loss does not have or that is out of range.
    """
    if name.startswith(ADDONS_PREFIX):
        return AddonsLoss(name, options)
    values = checked_options(name, options)
    if name not in _LOSSES:
        raise ArgumentError(f"loss {name!r} learns from orders alone and is not chosen by name")
    return _LOSSES[name](**values)
